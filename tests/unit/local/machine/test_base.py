from pathlib import Path

import pytest

from images.errors import ConfigurationError
from infra.local.contracts import BaseImageReference
from infra.local.machine import cbs, features
from infra.local.machine.base import GENERALIZED, create_base_disk
from infra.local.machine.disk import MachineDisk
from infra.local.machine.model import SETUP_STATE
from infra.local.machine.products import UnknownProductError
from infra.local.machine.services import list_services


def reference(version: str, sku: str = "2022-Datacenter-Core-smalldisk") -> BaseImageReference:
    return BaseImageReference("MicrosoftWindowsServer", "WindowsServer", sku, version, "V2")


@pytest.mark.parametrize(
    ("version", "name", "kbs"),
    [
        ("17763.4252.230801", "Windows Server 2019 Datacenter", ["KB5022511", "KB5023789", "KB5025229"]),
        ("20348.5499.260809", "Windows Server 2022 Datacenter", ["KB5120241", "KB5120242", "KB5120705"]),
        ("26100.33296.260809", "Windows Server 2025 Datacenter", ["KB5043080", "KB9003296"]),
    ],
)
def test_a_base_disk_holds_its_release_of_windows(tmp_path: Path, version: str, name: str, kbs: list[str]) -> None:
    create_base_disk(tmp_path / "disk", reference(version), 40)
    disk = MachineDisk.open(tmp_path / "disk")
    key = disk.make_key(r"HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion")
    build, ubr, _ = version.split(".")
    assert (key.get("ProductName"), key.get("CurrentBuildNumber"), key.get("UBR")) == (name, build, int(ubr))
    assert key.get("InstallationType") == "Server Core"
    assert [fix.kb for fix in cbs.hotfixes(disk)] == kbs
    assert disk.make_key(SETUP_STATE).get("ImageState") == GENERALIZED
    assert features.feature_state(disk, "Windows-Defender") == features.INSTALLED
    assert features.feature_state(disk, "Containers") == features.AVAILABLE
    assert {"wuauserv", "WinRM", "WinDefend", "W32Time", "WindowsAzureGuestAgent"} <= {one.name for one in list_services(disk)}
    assert (disk.generation, disk.size_gib, disk.partition_gib) == ("V2", 40, 30)


def test_unknown_builds_and_versions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownProductError, match="14393"):
        create_base_disk(tmp_path / "a", reference("14393.1.250101"), 40)
    with pytest.raises(ConfigurationError, match="latest"):
        create_base_disk(tmp_path / "b", reference("latest"), 40)
    with pytest.raises(ConfigurationError, match="no date"):
        create_base_disk(tmp_path / "c", reference("20348.1.991399"), 40)


def test_a_disk_smaller_than_the_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="127"):
        create_base_disk(tmp_path / "a", reference("20348.5499.260809", sku="2022-datacenter"), 35)
