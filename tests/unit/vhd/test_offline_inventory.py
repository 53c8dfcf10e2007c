"""The inventory that is read from a disk alone."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from images.inventory import Inventory, OperatingSystem, Qfe, Runtime, ScheduledTask
from infra.local.disks.vhd_writer import write_vhd
from infra.local.machine import cbs, containerd
from infra.local.machine.disk import MachineDisk
from infra.local.machine.services import list_services
from infra.vhd.inspect import inspect_path
from tests.unit.vhd.pe_program import make_program
from tests.unit.vhd.sample_disk import BUILD, CACHED, CONFIG, TOOL, VHD_ID


@pytest.fixture(scope="module")
def inventory(gen2_vhd: Path) -> Inventory:
    """The sample's inventory with hashes."""
    return inspect_path(gen2_vhd, hash_files=True).inventory


@pytest.mark.parametrize("generation", ["V1", "V2"])
def test_partition_table_tells_the_generation(generation: str, samples: dict[str, tuple[MachineDisk, Path]]) -> None:
    found = inspect_path(samples[generation][1]).inventory
    assert found.os == OperatingSystem(
        product_name="Windows Server 2022 Datacenter", build=BUILD, ubr=5499, installation_type="Server Core", generation=generation
    )


def test_cached_files_and_tools_have_path_size_and_hash(inventory: Inventory) -> None:
    assert {(file.path, file.size_bytes, file.sha256) for file in inventory.cached_files} == {
        (path, len(content), hashlib.sha256(content).hexdigest()) for path, content in CACHED.items()
    }
    assert [file.path for file in inventory.tools] == [TOOL]


def test_hashes_are_left_out_unless_asked_for(gen2_vhd: Path) -> None:
    found = inspect_path(gen2_vhd).inventory
    assert {file.sha256 for file in found.cached_files} == {""}


def test_installed_features_form_a_tree(inventory: Inventory) -> None:
    names = {feature.name: feature for feature in inventory.features}
    assert names["Hyper-V-PowerShell"].depth == 3
    assert names["Containers"].display_name == "Containers"
    assert "Hyper-V" not in names


def test_updates_have_what_their_manifests_say(inventory: Inventory, samples: dict[str, tuple[MachineDisk, Path]]) -> None:
    expected = [Qfe(kb=fix.kb, description=fix.description, support_link=fix.support_link) for fix in cbs.hotfixes(samples["V2"][0])]
    assert list(inventory.qfes) == expected
    assert len(expected) == 3


def test_capabilities_and_services_agree_with_the_machine(inventory: Inventory, samples: dict[str, tuple[MachineDisk, Path]]) -> None:
    disk = samples["V2"][0]
    assert inventory.capabilities == cbs.capabilities(disk)
    assert [(service.name, service.start_mode) for service in inventory.services] == [
        (service.name, service.start_mode) for service in list_services(disk)
    ]


def test_settings_runtime_and_identity(inventory: Inventory) -> None:
    assert inventory.vhd_id == VHD_ID
    assert inventory.excluded_udp_ports == (65330,)
    assert inventory.runtime == Runtime(name="containerd", version="v1.7.20", config_sha256=hashlib.sha256(CONFIG).hexdigest())
    assert inventory.scheduled_tasks == (ScheduledTask(path=r"\expand-volume"),)
    assert [(value.name, value.value) for value in inventory.registry] == [("NoAutoUpdate", 1)]
    assert inventory.defender is not None
    assert inventory.defender.signatures_updated == "2026-08-09T00:00:00Z"


@pytest.mark.parametrize(
    ("program", "version"),
    [
        (b"MZ" + bytes(1_500_000) + b"containerd/v2/version.Version=v2.0.1 ", "v2.0.1"),
        (make_program("mod\tgithub.com/containerd/containerd\tv1.7.9\th1:x=\nbuild\t-trimpath=true\n"), "v1.7.9"),
        (b"MZ", ""),
    ],
    ids=["flags elsewhere in the program", "version of the module", "none"],
)
def test_runtime_version_is_found_in_other_builds_too(
    program: bytes, version: str, tmp_path: Path, samples: dict[str, tuple[MachineDisk, Path]]
) -> None:
    samples["V2"][0].copy_to(tmp_path / "disk")
    disk = MachineDisk.open(tmp_path / "disk")
    disk.write(containerd.PROGRAM, program)
    write_vhd(disk, tmp_path / "changed.vhd")
    runtime = inspect_path(tmp_path / "changed.vhd").inventory.runtime
    assert runtime is not None
    assert runtime.version == version


def test_container_image_has_the_config_of_this_windows_build(inventory: Inventory, samples: dict[str, tuple[MachineDisk, Path]]) -> None:
    (image,) = inventory.container_images
    (stored,) = containerd.images(samples["V2"][0])
    assert (image.name, image.digest) == (stored.name, stored.digest)
    assert image.platforms == ("windows/amd64/10.0.17763.1", "windows/amd64/10.0.20348.1")
    config = containerd.read_blob(samples["V2"][0], image.config_digest)
    assert config is not None
    assert b"10.0.20348.1" in config


def test_removed_blob_is_missing_from_the_size(tmp_path: Path, samples: dict[str, tuple[MachineDisk, Path]], inventory: Inventory) -> None:
    samples["V2"][0].copy_to(tmp_path / "disk")
    disk = MachineDisk.open(tmp_path / "disk")
    digest = inventory.container_images[0].config_digest
    lost = disk.path(rf"{containerd.BLOBS}\{digest.removeprefix('sha256:')}")
    size = lost.stat().st_size
    lost.unlink()
    write_vhd(disk, tmp_path / "changed.vhd")
    found = inspect_path(tmp_path / "changed.vhd").inventory
    assert found.container_images[0].size_bytes == inventory.container_images[0].size_bytes - size


def test_value_changed_with_hivexsh_shows_up(tmp_path: Path, gen1_vhd: Path) -> None:
    if shutil.which("hivexsh") is None or shutil.which("ntfscp") is None:
        pytest.skip("hivexsh or ntfscp (Debian: libhivex-bin, ntfs-3g) is not installed")
    content = gen1_vhd.read_bytes()
    volume, hive = tmp_path / "volume.ntfs", tmp_path / "SOFTWARE"
    volume.write_bytes(content[1 << 20 : -512])
    hive.write_bytes(subprocess.run(["ntfscat", str(volume), "/Windows/System32/config/SOFTWARE"], check=True, capture_output=True).stdout)
    script = "cd \\Policies\\Microsoft\\Windows\\WindowsUpdate\\AU\nsetval 1\nNoAutoUpdate\ndword:0\ncommit\n"
    subprocess.run(["hivexsh", "-w", str(hive)], input=script.encode(), check=True, capture_output=True)
    subprocess.run(["ntfscp", "-f", str(volume), str(hive), "/Windows/System32/config/SOFTWARE"], check=True, capture_output=True)
    changed = tmp_path / "changed.vhd"
    changed.write_bytes(content[: 1 << 20] + volume.read_bytes() + content[-512:])
    assert [value.value for value in inspect_path(changed).inventory.registry] == [0]


def test_same_disk_gives_the_same_bytes(gen2_vhd: Path, inventory: Inventory) -> None:
    assert inspect_path(gen2_vhd, hash_files=True).inventory.model_dump_json() == inventory.model_dump_json()


def test_reader_does_not_need_the_stand_in(gen2_vhd: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from infra.vhd.inspect import inspect_path; inspect_path(Path(sys.argv[1]));"
        "sys.exit(any(name.startswith('infra.local') for name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", program, str(gen2_vhd)], check=True, cwd=Path(__file__).parents[3])
