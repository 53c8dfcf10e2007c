"""Reading files of an NTFS volume, and a second opinion by ntfs-3g."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.machine.disk import MachineDisk
from infra.vhd.errors import VhdError, VhdNotFoundError
from infra.vhd.image_file import open_image
from infra.vhd.ntfs import NtfsVolume
from infra.vhd.partitions import read_partitions, windows_partition


@pytest.fixture
def volume(gen2_vhd: Path) -> Iterator[NtfsVolume]:
    """The Windows volume of the sample."""
    with gen2_vhd.open("rb") as file:
        image = open_image(file)
        part = windows_partition(image.disk, read_partitions(image.disk, image.size_bytes))
        with NtfsVolume(image.disk, part.offset, part.size_bytes) as opened:
            yield opened


def test_walk_finds_every_file_with_its_content(volume: NtfsVolume, samples: dict[str, tuple[MachineDisk, Path]]) -> None:
    root = samples["V2"][0].c
    expected = {
        path.relative_to(root).as_posix().replace("/", "\\"): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }
    found = {entry.path: volume.sha256(entry) for entry in volume.walk() if not entry.is_folder}
    config = {rf"Windows\System32\config\{name}" for name in ("SOFTWARE", "SYSTEM", "SAM", "SECURITY", "DEFAULT")}
    assert found.keys() - expected.keys() == config
    assert {path: digest for path, digest in found.items() if path not in config} == expected


def test_path_is_found_in_any_case_with_or_without_drive(volume: NtfsVolume) -> None:
    for path in (r"C:\AKSE-CACHE\ünïcode – ФАЙЛ.txt", "akse-cache/Ünïcode – файл.txt"):
        entry = volume.require(path)
        assert (entry.name, entry.size_bytes) == ("Ünïcode – файл.txt", 1)


def test_absent_file_is_a_typed_error(volume: NtfsVolume) -> None:
    assert volume.find(r"Windows\absent\file") is None
    with pytest.raises(VhdNotFoundError):
        volume.read("absent.txt")


def test_larger_file_than_expected_is_not_read(volume: NtfsVolume) -> None:
    with pytest.raises(VhdError, match="at most 10"):
        volume.read(r"akse-cache\win-k8s\v1.30.1-1int.zip", max_bytes=10)


def test_free_space_is_that_of_ntfs_3g(volume: NtfsVolume, gen2_vhd: Path, tmp_path: Path) -> None:
    if shutil.which("ntfsinfo") is None:
        pytest.skip("ntfsinfo (Debian: ntfs-3g) is not installed")
    image = _volume_file(gen2_vhd, tmp_path)
    text = subprocess.run(["ntfsinfo", "-m", "-f", str(image)], capture_output=True, text=True, check=True).stdout
    line = next(line for line in text.splitlines() if "Free Clusters" in line)
    assert volume.free_bytes() == int(line.split(":")[1].split("(")[0]) * 4096


def test_ntfs_3g_lists_the_same_files(volume: NtfsVolume, gen2_vhd: Path, tmp_path: Path) -> None:
    if shutil.which("ntfsls") is None:
        pytest.skip("ntfsls (Debian: ntfs-3g) is not installed")
    image = _volume_file(gen2_vhd, tmp_path)
    text = subprocess.run(
        ["ntfsls", "-F", "-p", "/akse-cache", str(image)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    ).stdout
    listed = {line.rstrip("/") for line in text.splitlines() if line not in {"./", "../"}}
    assert listed == {entry.name for entry in volume.children(volume.require("akse-cache"))}


def test_folder_is_not_read_as_a_file(volume: NtfsVolume) -> None:
    with pytest.raises(VhdError, match="folder"):
        volume.open_file(volume.require("Windows"))


def test_garbage_is_no_volume() -> None:
    with pytest.raises(VhdError, match="NTFS volume is damaged"):
        NtfsVolume(io.BytesIO(os.urandom(1 << 20)), 0, 1 << 20)


def _volume_file(vhd: Path, folder: Path) -> Path:
    with vhd.open("rb") as file:
        image = open_image(file)
        part = windows_partition(image.disk, read_partitions(image.disk, image.size_bytes))
        file.seek(part.offset)
        target = folder / "volume.ntfs"
        target.write_bytes(file.read(part.size_bytes))
    return target
