"""A captured disk that foreign programs changed fails the build's check, which names exactly what was changed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from images.errors import InventoryMismatchError
from infra.local.machine.bolt import write_database
from infra.vhd.bolt import BoltBucket, BoltDatabase
from infra.vhd.inspect import open_file
from infra.vhd.range_reader import RangeReader
from tasks.inspect_vhd import check_disk
from tests.contract.inspect.conftest import BuiltImage
from tests.contract.inspect.foreign_changes import Change, ForeignVolume, volume_of

CACHED = "/akse-cache/csi-proxy/csi-proxy-v1.1.2.tar.gz"
METADATA = "/ProgramData/containerd/root/io.containerd.metadata.v1.bolt/meta.db"
BLOBS = "/ProgramData/containerd/root/io.containerd.content.v1.content/blobs/sha256"
PAUSE = "mcr.microsoft.com/oss/v2/kubernetes/pause:3.10.2"


def _differences(built: BuiltImage, work: Path, *changes: Change) -> tuple[str, ...]:
    """What the build's check says of a copy of the disk with these changes."""
    changed = work / "changed.vhd"
    shutil.copyfile(built.vhd, changed)
    with volume_of(changed, work) as volume:
        for change in changes:
            change(volume)
    with pytest.raises(InventoryMismatchError) as caught, open_file(changed) as disk:
        check_disk(disk, built.definition, built.lock, built.plan, built.live)
    assert all(difference in str(caught.value) for difference in caught.value.differences)
    return caught.value.differences


def test_disk_that_nobody_changed_agrees_also_when_foreign_programs_made_its_volume_again(built: BuiltImage, tmp_path: Path) -> None:
    with open_file(built.vhd) as disk:
        check_disk(disk, built.definition, built.lock, built.plan, built.live)
    copy = tmp_path / "same.vhd"
    shutil.copyfile(built.vhd, copy)
    with volume_of(copy, tmp_path) as volume:
        volume.write("/left-alone.txt", b"outside all that an inventory looks at")
        volume.remove("/left-alone.txt")
    with open_file(copy) as disk:
        check_disk(disk, built.definition, built.lock, built.plan, built.live)


def test_registry_value_in_software(built: BuiltImage, tmp_path: Path) -> None:
    commands = "cd \\Policies\\Microsoft\\Windows\\WindowsUpdate\\AU\nsetval 1\nNoAutoUpdate\ndword:0"
    (difference,) = _differences(built, tmp_path, lambda volume: volume.edit_hive("SOFTWARE", commands))
    assert difference == (
        "registry value HKLM:\\SOFTWARE\\Policies\\Microsoft\\Windows\\WindowsUpdate\\AU\\NoAutoUpdate:"
        " value is 1 in the live inventory, 0 in the captured disk"
    )


def test_start_mode_of_a_service_in_system(built: BuiltImage, tmp_path: Path) -> None:
    service = built.live.services[0]
    # setval replaces all values of a key; these two are what an inventory reads.
    commands = f"cd \\ControlSet001\\Services\\{service.name}\nsetval 2\nType\ndword:0x10\nStart\ndword:4"
    (difference,) = _differences(built, tmp_path, lambda volume: volume.edit_hive("SYSTEM", commands))
    assert (
        difference == f"service {service.name}: start_mode is '{service.start_mode}' in the live inventory, 'Disabled' in the captured disk"
    )


def test_windows_version(built: BuiltImage, tmp_path: Path) -> None:
    system = built.live.os

    def downgrade(volume: ForeignVolume) -> None:
        values = {"ProductName": f"string:{system.product_name}", "InstallationType": f"string:{system.installation_type}"}
        values |= {"CurrentBuildNumber": f"string:{system.build}", "UBR": "dword:1"}
        lines = "\n".join(f"{name}\n{value}" for name, value in values.items())
        volume.edit_hive("SOFTWARE", f"cd \\Microsoft\\Windows NT\\CurrentVersion\nsetval {len(values)}\n{lines}")

    (difference,) = _differences(built, tmp_path, downgrade)
    assert difference == f"os: ubr is {system.ubr} in the live inventory, 1 in the captured disk"


def test_replaced_cached_file_of_the_same_size(built: BuiltImage, tmp_path: Path) -> None:
    def flip(volume: ForeignVolume) -> None:
        content = bytearray(volume.read(CACHED))
        content[len(content) // 2] ^= 1
        volume.write(CACHED, bytes(content))

    (difference,) = _differences(built, tmp_path, flip)
    assert difference.lower().startswith("cached file c:" + CACHED.replace("/", "\\") + ": sha256 is ")


def test_removed_cached_file(built: BuiltImage, tmp_path: Path) -> None:
    (difference,) = _differences(built, tmp_path, lambda volume: volume.remove(CACHED))
    assert difference.lower() == "cached file c:" + CACHED.replace("/", "\\") + ": in the live inventory, not in the captured disk"


def test_additional_file_in_the_cache(built: BuiltImage, tmp_path: Path) -> None:
    (difference,) = _differences(built, tmp_path, lambda volume: volume.write("/akse-cache/miner.exe", b"MZ"))
    assert difference.lower() == "cached file c:\\akse-cache\\miner.exe: in the captured disk, not in the live inventory"


def test_removed_blob_of_containerd(built: BuiltImage, tmp_path: Path) -> None:
    (image,) = [image for image in built.live.container_images if image.name == PAUSE]
    lost = image.config_digest.removeprefix("sha256:")
    differences = _differences(built, tmp_path, lambda volume: volume.remove(f"{BLOBS}/{lost}"))
    # containerd knows the image by its tag and by two digests; each of them has lost that content, and nothing else has.
    names = {f"container image {other.name}" for other in built.live.container_images if other.digest == image.digest}
    assert {difference.partition(": ")[0] for difference in differences} == names
    assert all("size_bytes is" in difference for difference in differences)


def _tree(bucket: BoltBucket) -> dict[bytes, Any]:
    return {**dict(bucket.items()), **{name: _tree(inner) for name, inner in bucket.buckets()}}


def test_additional_image_name(built: BuiltImage, tmp_path: Path) -> None:
    def name_it_again(volume: ForeignVolume) -> None:
        content = volume.read(METADATA)
        with RangeReader(lambda offset, length: content[offset : offset + length], len(content), parallel=1) as reader:
            tree = _tree(BoltDatabase(reader).root)
        images: dict[bytes, Any] = tree
        for key in (b"v1", b"k8s.io", b"images"):
            images = images[key]
        images[b"docker.example/miner:latest"] = images[PAUSE.encode()]
        volume.write(METADATA, write_database(tree))

    (difference,) = _differences(built, tmp_path, name_it_again)
    assert difference == "container image docker.example/miner:latest: in the captured disk, not in the live inventory"


def test_several_changes_are_all_named(built: BuiltImage, tmp_path: Path) -> None:
    differences = _differences(
        built,
        tmp_path,
        lambda volume: volume.write("/akse-cache/extra", b"1"),
        lambda volume: volume.write("/vhd-id.txt", b"00000000-0000-0000-0000-000000000000"),
    )
    assert [difference.split(":")[0] for difference in differences] == ["vhd_id", "cached file C"]
