"""A machine's folder as a VHD and back; the VHD in the eyes of independent programs."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest

from images.errors import CaptureError, MissingToolError
from infra.local.disks import vhd_writer
from infra.local.disks.foreign_tools import run_tool
from infra.local.disks.partition_table import MIB, layout_of, make_partition_table
from infra.local.disks.vhd_reader import read_vhd
from infra.local.disks.vhd_writer import write_vhd
from infra.local.machine.disk import MachineDisk
from infra.vhd.errors import VhdError
from infra.vhd.footer import parse_footer
from infra.vhd.image_file import open_image
from infra.vhd.inspect import inspect_path
from infra.vhd.partitions import read_partitions, windows_partition
from tests.unit.local.disks.test_regf import every_type
from tests.unit.vhd.sample_disk import make_sample_disk

CREATED = datetime(2026, 8, 12, 3, 4, 5, tzinfo=UTC)
ID = uuid.UUID("5f0a2f5e-0c57-4bb0-a6a4-2a3a5b8d9c01")


def make_disk(folder: Path, generation: str) -> MachineDisk:
    """A small disk with awkward names and values."""
    disk = MachineDisk(folder)
    disk.generation, disk.size_gib, disk.partition_gib = generation, 64, 30
    for path, content in {
        r"C:\Windows\System32\config\systemprofile\desktop.ini": b"[x]",
        r"C:\empty.txt": b"",
        r"C:\pagefile.sys": b"kept although wimlib would leave it out",
        r"C:\ProgramData\Größe\файл – 文件 😀.txt": b"inhalt",
        r"C:\Program Files (x86)\a b'c & d;e$f%g#h.txt": b"quotes",
        r"C:\large.bin": os.urandom(3_000_001),
        r"C:\UPPER\lower\MiXeD.TxT": b"case",
    }.items():
        disk.write(path, content)
    disk.path(r"C:\empty folder\nested").mkdir(parents=True)
    disk.hives["SOFTWARE"] = every_type()
    disk.hives["SYSTEM"].make("Select").set("Current", 1)
    disk.hives["SAM"].make(r"Domains\Account\Users\Names\buildaccount")
    disk.save()
    return disk


def tree(folder: Path) -> dict[str, str]:
    """Every path below a folder with the hash of its content, '' for folders."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize("generation", ["V1", "V2"])
def test_folder_comes_back_from_its_vhd(generation: str, tmp_path: Path) -> None:
    disk = make_disk(tmp_path / "disk", generation)
    write_vhd(disk, tmp_path / "image.vhd")
    back = read_vhd(tmp_path / "image.vhd", tmp_path / "back", generation, 64)
    assert tree(back.c) == tree(disk.c)
    assert back.hives == disk.hives
    assert (back.generation, back.size_gib, back.partition_gib) == (generation, 64, 30)
    opened = MachineDisk.open(tmp_path / "back")
    assert opened.hives == disk.hives


def test_disk_is_never_smaller_than_the_image_says(tmp_path: Path) -> None:
    write_vhd(make_disk(tmp_path / "disk", "V1"), tmp_path / "image.vhd")
    assert read_vhd(tmp_path / "image.vhd", tmp_path / "larger", "V1", 128).size_gib == 128
    assert read_vhd(tmp_path / "image.vhd", tmp_path / "as-it-is", "V1", 0).size_gib == 64


@pytest.mark.parametrize(("made", "wanted"), [("V1", "V2"), ("V2", "V1")])
def test_image_of_the_other_generation_is_refused(made: str, wanted: str, tmp_path: Path) -> None:
    write_vhd(make_disk(tmp_path / "disk", made), tmp_path / "image.vhd")
    with pytest.raises(VhdError, match="can not boot") as caught:
        read_vhd(tmp_path / "image.vhd", tmp_path / "back", wanted, 64)
    assert made in caught.value.hint


def test_footer_says_fixed_whole_mib_and_what_was_asked_for(tmp_path: Path) -> None:
    write_vhd(make_disk(tmp_path / "disk", "V2"), tmp_path / "image.vhd", created=CREATED, unique_id=ID)
    content = (tmp_path / "image.vhd").read_bytes()
    footer = parse_footer(content[-512:])
    assert (footer.created, footer.unique_id) == (CREATED, ID)
    assert footer.size_bytes == len(content) - 512 == 128 * MIB


def test_image_is_sparse(tmp_path: Path) -> None:
    write_vhd(make_disk(tmp_path / "disk", "V1"), tmp_path / "image.vhd")
    assert (tmp_path / "image.vhd").stat().st_blocks * 512 < 40 * MIB


def test_tables_and_hives_are_repeatable(tmp_path: Path) -> None:
    disk = make_disk(tmp_path / "disk", "V2")
    images = []
    for name in ("first", "second"):
        write_vhd(disk, tmp_path / name, created=CREATED, unique_id=ID)
        images.append((tmp_path / name).read_bytes())
    assert images[0][: 4 * MIB] == images[1][: 4 * MIB]
    assert images[0][-MIB:] == images[1][-MIB:]


def test_nothing_is_left_beside_the_image(tmp_path: Path) -> None:
    disk = make_disk(tmp_path / "disk", "V1")
    target = tmp_path / "out" / "image.vhd"
    write_vhd(disk, target)
    assert [path.name for path in target.parent.iterdir()] == ["image.vhd"]


def test_content_that_the_emulator_can_not_copy_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    disk = make_disk(tmp_path / "disk", "V1")
    with disk.path(r"C:\huge.bin").open("wb") as file:
        file.truncate(500 * MIB)
    with pytest.raises(CaptureError, match="511 MiB"):
        write_vhd(disk, tmp_path / "out" / "image.vhd")
    assert list((tmp_path / "out").iterdir()) == []


def test_larger_content_makes_a_larger_disk(tmp_path: Path) -> None:
    disk = make_disk(tmp_path / "disk", "V1")
    for number in range(30):
        disk.write(rf"C:\cache\{number}.bin", os.urandom(5 * MIB))
    write_vhd(disk, tmp_path / "image.vhd")
    size = (tmp_path / "image.vhd").stat().st_size
    assert 180 * MIB < size < 300 * MIB
    assert tree(read_vhd(tmp_path / "image.vhd", tmp_path / "back", "V1", 64).c) == tree(disk.c)


def test_missing_tool_is_named_with_the_command_that_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = make_disk(tmp_path / "disk", "V1")
    monkeypatch.setattr(shutil, "which", lambda _name, path=None: None)
    with pytest.raises(MissingToolError) as caught:
        write_vhd(disk, tmp_path / "image.vhd")
    assert "apt-get install ntfs-3g" in caught.value.hint
    assert caught.value.exit_code == 5


@pytest.mark.parametrize("name", ["a:b", "what?", "trailing.", "trailing ", "UPPER.txt"])
def test_name_that_windows_could_not_have_made_is_refused(name: str, tmp_path: Path) -> None:
    disk = make_disk(tmp_path / "disk", "V1")
    disk.write(r"C:\names\upper.txt", b"")
    (disk.c / "names" / name).write_bytes(b"")
    with pytest.raises(CaptureError, match="can not"):
        write_vhd(disk, tmp_path / "image.vhd")
    assert not (tmp_path / "image.vhd").exists()


def test_program_that_fails_is_a_typed_error_with_its_words(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="wimapply failed with exit code"):
        run_tool("wimapply", tmp_path / "absent.wim", "1", tmp_path / "volume")


@pytest.mark.parametrize("generation", ["V1", "V2"])
def test_qemu_img_sees_a_vhd(generation: str, tmp_path: Path) -> None:
    if shutil.which("qemu-img") is None:
        pytest.skip("qemu-img (Debian: qemu-utils) is not installed")
    image = tmp_path / "image.vhd"
    write_vhd(make_disk(tmp_path / "disk", generation), image)
    command = ["qemu-img", "info", "-f", "vpc", "--output=json", str(image)]
    about = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert (about["format"], about["virtual-size"]) == ("vpc", image.stat().st_size - 512)


@pytest.mark.parametrize("generation", ["V1", "V2"])
def test_ntfs_3g_reads_the_volume_at_the_place_that_its_boot_sector_names(generation: str, tmp_path: Path) -> None:
    if shutil.which("ntfscat") is None or shutil.which("ntfsfix") is None:
        pytest.skip("ntfscat, ntfsfix (Debian: ntfs-3g) are not installed")
    image = tmp_path / "image.vhd"
    write_vhd(make_disk(tmp_path / "disk", generation), image)
    with image.open("rb") as file:
        opened = open_image(file)
        part = windows_partition(opened.disk, read_partitions(opened.disk, opened.size_bytes))
        file.seek(part.offset)
        volume = tmp_path / "volume.ntfs"
        volume.write_bytes(file.read(part.size_bytes))
    assert int.from_bytes(volume.read_bytes()[28:32], "little") == part.offset // 512
    subprocess.run(["ntfsfix", "--no-action", str(volume)], check=True, capture_output=True)
    content = subprocess.run(
        ["ntfscat", str(volume), "/ProgramData/Größe/файл – 文件 😀.txt"],
        check=True,
        capture_output=True,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    ).stdout
    assert content.decode() == "inhalt"
    hive = subprocess.run(["ntfscat", str(volume), "/Windows/System32/config/SECURITY"], check=True, capture_output=True).stdout
    assert hive[:4] == b"regf"


def test_gpt_holds_the_partitions_of_a_gen2_windows_disk(tmp_path: Path) -> None:
    image = tmp_path / "image.vhd"
    write_vhd(make_disk(tmp_path / "disk", "V2"), image)
    with image.open("rb") as file:
        opened = open_image(file)
        table = read_partitions(opened.disk, opened.size_bytes)
        file.seek(table.partitions[0].offset)
        efi = file.read(512)
    assert [part.type for part in table.partitions] == [
        "c12a7328-f81f-11d2-ba4b-00a0c93ec93b",
        "e3c9e316-0b5c-4db8-817d-f92df00215ae",
        "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7",
    ]
    assert all(part.offset % MIB == 0 for part in table.partitions)
    assert (efi[54:62], efi[510:]) == (b"FAT12   ", b"\x55\xaa")


def test_mbr_holds_one_active_ntfs_partition() -> None:
    block = make_partition_table(layout_of("V1", 127 * MIB), ID)[0]
    entries = [block[446 + 16 * number : 462 + 16 * number] for number in range(4)]
    assert (entries[0][0], entries[0][4]) == (0x80, 0x07)
    assert entries[1:] == [bytes(16)] * 3


def test_vhd_that_the_stand_in_did_not_write_gets_its_sizes_from_the_disk(tmp_path: Path) -> None:
    image = tmp_path / "image.vhd"
    write_vhd(make_disk(tmp_path / "disk", "V1"), image)
    with image.open("r+b") as file:
        file.seek(64 * 512)
        file.write(bytes(512))
    back = read_vhd(image, tmp_path / "back", "V1", 40)
    assert (back.size_gib, back.partition_gib) == (40, 1)


def test_file_that_would_leave_the_folder_is_refused(tmp_path: Path) -> None:
    image = tmp_path / "image.vhd"
    disk = make_disk(tmp_path / "disk", "V1")
    disk.write(r"C:\xx\evil.txt", b"")
    write_vhd(disk, image)
    content = image.read_bytes()
    # The same length and case, so that the volume stays sound: a folder named `..`.
    name = "xx".encode("utf-16-le")
    assert content.count(b"\x02\x03" + name) + content.count(b"\x02\x00" + name) + content.count(b"\x02\x01" + name) >= 2
    for kind in (b"\x02\x00", b"\x02\x01", b"\x02\x02", b"\x02\x03"):
        content = content.replace(kind + name, kind + "..".encode("utf-16-le"))
    image.write_bytes(content)
    with pytest.raises(VhdError):
        read_vhd(image, tmp_path / "back", "V1", 64)
    assert not (tmp_path / "evil.txt").exists()
    assert not (tmp_path / "back" / "evil.txt").exists()


def test_realistic_machine_survives_two_round_trips(tmp_path: Path) -> None:
    disk = make_sample_disk(tmp_path / "disk", "V2")
    for number in range(1500):
        disk.write(rf"C:\Windows\many\{number % 20}\file {number}.bin", bytes([number % 256]) * 4000)
        disk.hives["SOFTWARE"].make(rf"Many\{number}").set("value", number)
    write_vhd(disk, tmp_path / "image.vhd")
    back = read_vhd(tmp_path / "image.vhd", tmp_path / "back", "V2", 40)
    assert tree(back.c).items() >= tree(disk.c).items()
    assert back.hives == disk.hives
    write_vhd(back, tmp_path / "again.vhd")
    first, second = (inspect_path(tmp_path / name, hash_files=True).inventory for name in ("image.vhd", "again.vhd"))
    assert first.model_copy(update={"free_bytes": 0}) == second.model_copy(update={"free_bytes": 0})


def test_limit_leaves_room_below_what_azurite_copies() -> None:
    assert vhd_writer.MAX_DISK_MIB * MIB + 512 < 512 * MIB
