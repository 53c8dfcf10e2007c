"""The stand-in cloud and a Prefect API as fixtures: one of each for all tests of a session that run whole flows."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from infra.azure.profile import CloudProfile
from infra.azure.session import Cloud, open_cloud
from infra.background import BackgroundProcess
from infra.checkout import ROOT
from infra.profiles import load_profile, start_stand_in, wait_for_deletions


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for state and results; the variables that name them are set for the session."""
    folder = tmp_path_factory.mktemp("workplace")
    patch = pytest.MonkeyPatch()
    patch.setenv("WINVHD_STATE", str(folder / "state"))
    patch.setenv("WINVHD_OUT", str(folder / "out"))
    yield folder
    patch.undo()


@pytest.fixture(scope="session")
def stand_in(workplace: Path) -> Iterator[BackgroundProcess]:
    """A running stand-in cloud."""
    process = start_stand_in(with_parent=True)
    yield process
    process.stop()


@pytest.fixture(scope="session")
def prefect_api() -> Iterator[None]:
    """A Prefect API with a database of its own."""
    # Imported here: most test sessions run no flow, and Prefect takes seconds to load.
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120), temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield


@pytest.fixture
def profile(stand_in: BackgroundProcess, prefect_api: None) -> CloudProfile:
    """The stand-in's profile, with a Prefect API there too."""
    assert stand_in.alive()
    return load_profile("local")


@pytest.fixture
def cloud(profile: CloudProfile) -> Iterator[Cloud]:
    """SDK clients of the stand-in."""
    with open_cloud(profile) as opened:
        yield opened


class FaultControl:
    """Sets what goes wrong in the running stand-in, and tells what did."""

    def __init__(self, arm_endpoint: str) -> None:
        self._url = f"{arm_endpoint}/_standin/faults"

    def __call__(self, *rules: dict[str, Any], profile: str | None = None, seed: int = 1) -> None:
        """Put these rules, and those of a named fault profile, in the place of the ones before."""
        response = httpx.put(self._url, json={"seed": seed, "profile": profile, "rules": list(rules)}, timeout=60)
        assert response.status_code == httpx.codes.OK, response.text

    def struck(self) -> dict[str, int]:
        """How often each point's faults struck since they were set; keyed by point and code."""
        counted: dict[str, int] = {}
        for counter in httpx.get(self._url, timeout=60).raise_for_status().json()["counters"]:
            name = f"{counter['point']} {counter['code']}"
            counted[name] = counted.get(name, 0) + counter["struck"]
        return counted


@pytest.fixture
def faults(profile: CloudProfile) -> Iterator[FaultControl]:
    """The stand-in's faults; they are gone after the test."""
    control = FaultControl(profile.arm_endpoint)
    yield control
    control()


SMALL: dict[str, Any] = {
    "schema_version": 1,
    "name": "small",
    "description": "A small image for tests.",
    "base": {
        "publisher": "MicrosoftWindowsServer",
        "offer": "windowsserver2022",
        "sku": "2022-Datacenter-Core-smalldisk",
        "version": "20348.5499.260809",
        "generation": "V1",
    },
    "os_disk_gib": 35,
    "features": ["Containers"],
    "container_runtime": {
        "version": "1.6.35-azure.1",
        "url": "https://packages.example.com/containerd/v1.6.35-azure.1/containerd-v1.6.35-azure.1-windows-amd64.tar.gz",
    },
    "container_images": ["mcr.microsoft.com/oss/v2/kubernetes/pause:3.10.2"],
    "packages": [
        {
            "url": "https://packages.example.com/kubernetes/v1.34.9/windowszip/v1.34.9-1int.zip",
            "destination": "C:\\akse-cache\\win-k8s\\",
            "kubernetes_version": "1.34.9",
        },
        {"url": "https://packages.example.com/csi-proxy/v1.1.2/csi-proxy-v1.1.2.tar.gz", "destination": "C:\\akse-cache\\csi-proxy\\"},
    ],
    "registry": [{"path": "HKLM:\\SYSTEM\\CurrentControlSet\\Services\\hns\\State", "name": "EnableCompartmentNamespace", "value": 1}],
    "e2e_suites": ["first-boot", "node-bootstrap"],
}
"""A definition with one of everything that matters."""


def write_definition(folder: Path, **changes: Any) -> Path:
    """A file in the folder with a definition like SMALL, with other values (None: without the field)."""
    content = {name: value for name, value in {**SMALL, **changes}.items() if value is not None}
    path = folder / "definitions" / f"{content['name']}.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@pytest.fixture
def define(workplace: Path) -> Callable[..., str]:
    """Writes a definition like SMALL with other values (None: without the field) and gives its path."""

    return lambda **changes: str(write_definition(workplace, **changes))


@pytest.fixture
def resource_groups(cloud: Cloud) -> Callable[[], list[str]]:
    """Names of the resource groups that exist once deletions have ended, without those of checkpoints, which stay."""

    def names() -> list[str]:
        wait_for_deletions()
        found = (group.name or "" for group in cloud.resources.resource_groups.list())
        return sorted(name for name in found if not name.startswith("winvhd-checkpoints"))

    return names


@pytest.fixture
def change_profile(profile: CloudProfile, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Gives the builds of this test other values of the profile."""

    def change(**changes: Any) -> None:
        monkeypatch.setattr("tasks.build.load_profile", lambda name: load_profile(name).model_copy(update=changes))

    return change


def command(*arguments: str) -> list[str]:
    """The command line of `winvhd` with these arguments."""
    return [sys.executable, "-c", "from flows.cli.main import main; main()", *arguments]


@pytest.fixture
def run_command(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `winvhd` to its end, its state and results in this test's folder; `environment` replaces variables."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        folders = {"WINVHD_STATE": str(tmp_path / "state"), "WINVHD_OUT": str(tmp_path / "out")}
        return subprocess.run(
            command(*arguments),
            cwd=ROOT,
            env={**os.environ, **folders, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run
