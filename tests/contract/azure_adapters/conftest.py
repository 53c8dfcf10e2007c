"""Azurite alone for the tests of the blob half, the whole stand-in for the rest, and sessions with both."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr

from infra.azure.profile import CloudProfile, StorageAccess
from infra.azure.session import Cloud, open_cloud
from infra.local.azurite import Azurite
from infra.vhd.footer import make_footer

MIB = 1024 * 1024


@pytest.fixture(scope="package")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    with Azurite(tmp_path_factory.mktemp("azurite")) as running:
        yield running


@pytest.fixture
def blob_profile(azurite: Azurite) -> CloudProfile:
    def access(account: str) -> StorageAccess:
        return StorageAccess(account=account, endpoint=f"{azurite.endpoint}/{account}", key=SecretStr(azurite.keys[account]))

    return CloudProfile(
        name="azure",
        source_address="127.0.0.1",
        subscription_id="00000000-0000-0000-0000-000000000001",
        location="westus3",
        vm_sizes=("Standard_D4s_v5",),
        arm_endpoint="http://127.0.0.1:9",
        credential="none",
        storage=access("winvhd"),
        copy_targets=(access("winvhdcopy"),),
        poll_interval_s=0.05,
    )


@pytest.fixture
def cloud(blob_profile: CloudProfile) -> Iterator[Cloud]:
    with open_cloud(blob_profile) as cloud:
        yield cloud


@dataclass
class StandIn:
    """The stand-in cloud as its own process, as a user runs it."""

    profile: CloudProfile

    def strike(self, *rules: dict[str, object]) -> None:
        """Put these faults in force, instead of those before."""
        body = json.dumps({"rules": rules}).encode()
        request = urllib.request.Request(f"{self.profile.arm_endpoint}/_standin/faults", data=body, method="PUT")
        with urllib.request.urlopen(request) as answer:
            answer.read()


@pytest.fixture(scope="package")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    state = tmp_path_factory.mktemp("stand-in")
    log = state / "serve.log"
    with log.open("wb") as output:
        server = subprocess.Popen([sys.executable, "-m", "infra.local", "serve", "--state", str(state)], stdout=output, stderr=output)
    try:
        announcement = state / "standin.json"
        ends_at = time.monotonic() + 60
        while not announcement.exists():
            assert server.poll() is None and time.monotonic() < ends_at, log.read_text()
            time.sleep(0.05)
        profile = CloudProfile.model_validate(json.loads(announcement.read_text())["profile"])
        # The azure profile, with nothing but endpoints and credential replaced.
        yield StandIn(profile.model_copy(update={"name": "azure", "poll_interval_s": 0.05}))
    finally:
        server.terminate()
        server.wait(60)


@pytest.fixture
def arm(stand_in: StandIn) -> Iterator[Cloud]:
    stand_in.strike()
    with open_cloud(stand_in.profile) as cloud:
        yield cloud


@pytest.fixture
def container() -> str:
    """A name no other test uses."""
    return f"t{uuid.uuid4().hex}"


def write_vhd(path: Path, disk_mib: int, data: dict[int, bytes]) -> str:
    """A sparse fixed VHD with the given bytes at the given offsets; gives its sha256."""
    size = disk_mib * MIB
    footer = make_footer(size, unique_id=uuid.UUID(int=7), created=datetime(2026, 1, 1, tzinfo=UTC))
    with path.open("wb") as file:
        file.truncate(size)
        for offset, content in data.items():
            file.seek(offset)
            file.write(content)
        file.seek(size)
        file.write(footer)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def upload_vhd(cloud: Cloud, container: str, name: str, path: Path, spans: list[tuple[int, int]]) -> int:
    """Put a VHD into a page blob, writing only the given (start, end) ranges and the footer; gives its size in bytes."""
    size = path.stat().st_size
    with cloud.blobs().get_blob_client(container, name) as blob, path.open("rb") as file:
        blob.create_page_blob(size)
        for start, end in [*spans, (size - 512, size)]:
            file.seek(start)
            blob.upload_page(file.read(end - start), offset=start, length=end - start)
    return size
