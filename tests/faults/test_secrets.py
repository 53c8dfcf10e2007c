"""Canaries: no password, storage key or SAS signature of a build is found in anything that outlives it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from azure.storage.blob import BlobServiceClient
from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL

from infra.azure.profile import CloudProfile
from infra.azure.session import Cloud
from tests.faults.stormy import StormyBuild, secrets_of

Check = Callable[[str, bytes], None]
SIGNATURE = re.compile(rb"sig=[A-Za-z0-9%+/]{20,}")
WIDE_SIGNATURE = re.compile(rb"s\0i\0g\0=\0(?:[A-Za-z0-9%+/]\0){20,}")


@pytest.fixture
def check(stormy: StormyBuild, profile: CloudProfile) -> Check:
    """Fails when the content holds a secret of the build; names the place, not the secret."""
    secrets = secrets_of(stormy, profile)

    def check_content(place: str, content: bytes) -> None:
        found = [kind for kind, pattern in (("SAS", SIGNATURE), ("wide SAS", WIDE_SIGNATURE)) if pattern.search(content)]
        found += [f"secret {number}" for number, secret in enumerate(secrets) if secret in content]
        assert not found, f"{place} holds {found}"

    return check_content


def test_the_canaries_sing(stormy: StormyBuild, check: Check) -> None:
    # Build, first boot test and their administrators at least; and the check finds what it looks for.
    assert len(set(stormy.passwords)) >= 4
    for planted in (stormy.passwords[0].encode(), stormy.passwords[-1].encode("utf-16-le"), b"https://x/y?sig=" + b"aB3" * 10 + b"%3D"):
        with pytest.raises(AssertionError):
            check("planted", b"before " + planted + b" after")


def test_no_secret_is_in_the_logs(stormy: StormyBuild, check: Check) -> None:
    assert "Generalize" in stormy.log
    check("log", stormy.log.encode())


def test_no_secret_is_in_the_prefect_database(stormy: StormyBuild, check: Check) -> None:
    database = Path(urlsplit(str(PREFECT_API_DATABASE_CONNECTION_URL.value())).path)
    # Flow and task runs, their states, parameters and logs, events, artifacts, blocks: all of it is in these files.
    files = sorted(database.parent.glob(f"{database.name}*"))
    # Logs go there in batches, some time after they were written.
    deadline = time.monotonic() + 60
    while b"delete the build's resources: built in" not in b"".join(file.read_bytes() for file in files):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    for file in files:
        check(file.name, file.read_bytes())


def test_no_secret_is_in_the_results_folder_or_on_the_captured_disk(stormy: StormyBuild, check: Check) -> None:
    files = [path for path in Path(stormy.result["folder"]).rglob("*") if path.is_file()]
    assert {"image.vhd", "timings.json", "plan.json"} <= {path.name for path in files}
    for path in files:
        check(path.name, path.read_bytes())


def _blobs(service: BlobServiceClient) -> Iterator[tuple[str, bytes]]:
    for container in service.list_containers():
        with service.get_container_client(container.name) as client:
            for blob in client.list_blobs(include=["metadata", "tags"]):
                yield f"{container.name}/{blob.name}", f"{blob.name} {blob.metadata} {blob.tags}".encode()
                # The VHDs are checked where they lie as files; the cache's blobs are the public artifacts.
                if blob.blob_type == "BlockBlob" and container.name != "cache":
                    yield f"{container.name}/{blob.name}", client.download_blob(blob.name).readall()


def test_no_secret_is_in_blob_storage(stormy: StormyBuild, cloud: Cloud, check: Check) -> None:
    seen = set()
    for access in (cloud.profile.storage, *cloud.profile.copy_targets):
        for name, content in _blobs(cloud.blobs(access)):
            seen.add(name)
            check(f"{access.account}/{name}", content)
    assert {f"builds/{stormy.result['build_id']}/release-notes.txt", f"images/{stormy.result['build_id']}.vhd"} <= seen


def test_no_secret_is_in_resources_their_tags_and_the_request_log(stormy: StormyBuild, workplace: Path, check: Check) -> None:
    state = workplace / "state" / "local"
    # The database's pages also hold, until they are used again, what was deleted: the build's VMs and Run Commands.
    files = [*state.glob("resources.sqlite*"), *(state / "outside").glob("*.jsonl"), state / "standin.log"]
    assert stormy.result["build_id"].encode() in b"".join(file.read_bytes() for file in files)
    for file in files:
        check(file.name, file.read_bytes())
