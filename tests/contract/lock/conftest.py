"""Locks against the stand-in cloud: its marketplace, its artifact origin and its registry."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from images.definition import ImageDefinition
from images.loading import load_definition
from infra.azure.profile import CloudProfile
from infra.azure.session import Cloud, open_cloud
from infra.background import BackgroundProcess
from infra.profiles import load_profile, stand_in_folder
from tasks.lock_file import write_lock
from tasks.refresh_lock import RefreshedLock, refresh_lock
from tests.standin_fixtures import FaultControl, write_definition

AS_OF = datetime(2026, 8, 20, tzinfo=UTC)
URL = "https://packages.example.com/{name}/v1.0.0/{name}-v1.0.0.tar.gz"
PAUSE = "mcr.microsoft.com/oss/v2/kubernetes/pause:3.10.2"


@pytest.fixture
def cloud(stand_in: BackgroundProcess) -> Iterator[Cloud]:
    """SDK clients of the stand-in, which asks again at once."""
    assert stand_in.alive()
    profile: CloudProfile = load_profile("local").model_copy(update={"poll_interval_s": 0.02})
    with open_cloud(profile) as opened:
        yield opened


@pytest.fixture
def faults(cloud: Cloud) -> Iterator[FaultControl]:
    control = FaultControl(cloud.profile.arm_endpoint)
    yield control
    control()


@dataclass
class LockedImage:
    """One definition's file and its lock."""

    folder: Path
    name: str
    cloud: Cloud

    def define(self, **changes: Any) -> None:
        """Write the definition: one package and whatever else is asked for."""
        package = {"url": URL.format(name=self.name), "destination": "C:\\akse-cache\\tools\\"}
        fields: dict[str, Any] = {"features": None, "container_runtime": None, "container_images": None, "registry": None, "e2e_suites": []}
        write_definition(self.folder, **{**fields, "name": self.name, "packages": [package], **changes})

    @property
    def file(self) -> Path:
        return self.folder / "definitions" / f"{self.name}.yaml"

    @property
    def definition(self) -> ImageDefinition:
        return load_definition(self.file)

    def refresh(self, **options: Any) -> RefreshedLock:
        """What the lock should be."""
        return refresh_lock(self.definition, self.file, self.cloud, **{"as_of": AS_OF, **options})

    def lock(self, **options: Any) -> RefreshedLock:
        """Write what the lock should be."""
        refreshed = self.refresh(**options)
        write_lock(refreshed.new, refreshed.path)
        return refreshed


@pytest.fixture
def image(tmp_path: Path, cloud: Cloud, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> LockedImage:
    """A definition of this test's own, whose files nobody else asks for."""
    monkeypatch.setenv("WINVHD_OUT", str(tmp_path / "out"))
    made = LockedImage(tmp_path, "lock-" + hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12], cloud)
    made.define()
    return made


@pytest.fixture
def move_tag() -> Iterator[Callable[[str, str], None]]:
    """Lets a tag of the stand-in's registry point at what another one points at; as before after the test."""
    before: dict[Path, str] = {}

    def move(reference: str, other: str) -> None:
        target = _tag_file(reference)
        before.setdefault(target, target.read_text(encoding="utf-8"))
        target.write_text(_tag_file(other).read_text(encoding="utf-8"), encoding="utf-8")

    yield move
    for file, digest in before.items():
        file.write_text(digest, encoding="utf-8")


def _tag_file(reference: str) -> Path:
    name = hashlib.sha256(reference.encode()).hexdigest()
    (found,) = stand_in_folder().glob(f"**/tags/{name}")
    return found
