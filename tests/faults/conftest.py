"""Builds that go wrong: a definition that builds fast, a profile in a hurry, the command in a process of its own."""

from __future__ import annotations

import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from images.loading import load_definition
from infra.azure.session import open_cloud
from infra.background import BackgroundProcess
from infra.profiles import load_profile
from tasks.resolve_lock import resolve_lock
from tests.standin_fixtures import SMALL, FaultControl, write_definition

if TYPE_CHECKING:
    from tests.faults.stormy import StormyBuild

PACKAGE = "https://packages.example.com/{name}/v1.0.0/{name}-v1.0.0.tar.gz"


def bare(name: str, **changes: Any) -> dict[str, Any]:
    """Fields for `define`: an image with one package of its own and nothing that takes time.

    Each name has a disk of its own size, so that no image starts from another's checkpoint.
    """
    package = {"url": PACKAGE.format(name=name), "destination": "C:\\akse-cache\\tools\\"}
    fields: dict[str, Any] = {"features": None, "container_runtime": None, "container_images": None, "registry": None, "e2e_suites": []}
    return {**fields, "name": name, "os_disk_gib": 100 + zlib.crc32(name.encode()) % 900, "packages": [package], **changes}


def layered(name: str, **changes: Any) -> dict[str, Any]:
    """Fields for `define`: an image of three layers that are saved, each with a stage that changes something."""
    return bare(name, **{"features": ["Containers"], "registry": SMALL["registry"], **changes})


@pytest.fixture
def groups_of(resource_groups: Callable[[], list[str]]) -> Callable[[str], list[str]]:
    """Resource groups of builds of a definition, by its name."""
    return lambda name: [group for group in resource_groups() if f"-{name}-" in group]


def assert_clear(done: subprocess.CompletedProcess[str], exit_code: int, *words: str) -> None:
    """The command ended with this code and a text that holds these words, a hint, and no traceback."""
    assert done.returncode == exit_code, done.stderr
    for word in (*words, "hint: "):
        assert word in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.fixture(scope="session")
def stormy(stand_in: BackgroundProcess, prefect_api: None, workplace: Path) -> StormyBuild:
    """A finished build of an image with everything, with a copy, through bad weather."""
    from flows.build_image import build_image
    from flows.choices import ImageChoice
    from tests.faults.stormy import WEATHER, StormyBuild, watching

    packages = [*SMALL["packages"], {"url": PACKAGE.format(name="stormy"), "destination": "C:\\akse-cache\\tools\\"}]
    path = write_definition(workplace, name="stormy", packages=packages, os_disk_gib=71)
    definition, profile = load_definition(path), load_profile("local")
    with open_cloud(profile) as cloud:
        # Corrupt bytes in the origin's first answers would be locked as they are.
        resolve_lock(definition, path, cloud)
    faults = FaultControl(profile.arm_endpoint)
    with pytest.MonkeyPatch.context() as patch, watching(patch) as (lines, passwords):
        faults(*WEATHER)
        try:
            result = build_image(ImageChoice(path), "local", "winvhdcopy/images")
            struck = faults.struck()
        finally:
            faults()
    return StormyBuild(result, struck, "\n".join(lines), tuple(passwords))
