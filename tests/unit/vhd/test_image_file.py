"""Kinds of disk images: fixed, dynamic, raw, and broken ones."""

from __future__ import annotations

import hashlib
import io
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from infra.vhd.errors import VhdError
from infra.vhd.footer import checksum
from infra.vhd.image_file import open_image
from infra.vhd.inspect import inspect_path
from infra.vhd.source import ByteSource

needs_qemu_img = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img (Debian: qemu-utils) is not installed")


def _digest(disk: ByteSource, size: int) -> str:
    digest = hashlib.sha256()
    disk.seek(0)
    while piece := disk.read(1 << 20):
        digest.update(piece)
        size -= len(piece)
    assert size == 0
    return digest.hexdigest()


@pytest.fixture(scope="module")
def dynamic_vhd(gen1_vhd: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample as qemu-img makes a dynamic VHD of it."""
    target = tmp_path_factory.mktemp("dynamic") / "dynamic.vhd"
    command = ["qemu-img", "convert", "-f", "vpc", "-O", "vpc", "-o", "subformat=dynamic,force_size=on", str(gen1_vhd), str(target)]
    subprocess.run(command, check=True, capture_output=True)
    return target


@needs_qemu_img
def test_dynamic_vhd_holds_the_same_disk_as_the_fixed_one(gen1_vhd: Path, dynamic_vhd: Path) -> None:
    with gen1_vhd.open("rb") as fixed, dynamic_vhd.open("rb") as dynamic:
        first, second = open_image(fixed), open_image(dynamic)
        assert (first.kind, second.kind) == ("fixed", "dynamic")
        assert first.size_bytes == second.size_bytes
        assert _digest(first.disk, first.size_bytes) == _digest(second.disk, second.size_bytes)


@needs_qemu_img
def test_dynamic_and_fixed_vhd_give_the_same_inventory(gen1_vhd: Path, dynamic_vhd: Path) -> None:
    assert inspect_path(dynamic_vhd).inventory == inspect_path(gen1_vhd).inventory


@needs_qemu_img
def test_dynamic_vhd_that_lost_its_end_is_refused(dynamic_vhd: Path) -> None:
    content = dynamic_vhd.read_bytes()
    with pytest.raises(VhdError, match="dynamic VHD without its footer"):
        open_image(io.BytesIO(content[:-512]))


@needs_qemu_img
def test_allocation_table_that_does_not_fit_the_file_is_refused(dynamic_vhd: Path) -> None:
    content = bytearray(dynamic_vhd.read_bytes())
    header = content[512:1536]
    struct.pack_into(">Q", header, 16, len(content) - 8)
    struct.pack_into(">I", header, 36, checksum(bytes(header), 36))
    content[512:1536] = header
    with pytest.raises(VhdError, match="allocation table"):
        open_image(io.BytesIO(bytes(content)))


def test_raw_disk_is_read_as_it_is(gen1_vhd: Path) -> None:
    raw = io.BytesIO(gen1_vhd.read_bytes()[:-512])
    image = open_image(raw)
    assert (image.kind, image.footer, image.size_bytes) == ("raw", None, gen1_vhd.stat().st_size - 512)


@pytest.mark.parametrize("lost", [1, 100, 511, 513, 4096 + 7])
def test_truncated_fixed_vhd_is_refused(gen1_vhd: Path, lost: int, tmp_path: Path) -> None:
    truncated = tmp_path / "truncated.vhd"
    truncated.write_bytes(gen1_vhd.read_bytes()[:-lost])
    with pytest.raises(VhdError) as caught:
        inspect_path(truncated)
    assert caught.value.hint
    assert caught.value.exit_code == 15


def test_vhd_without_its_footer_is_refused_although_the_disk_is_whole(gen1_vhd: Path, tmp_path: Path) -> None:
    headless = tmp_path / "headless.vhd"
    headless.write_bytes(gen1_vhd.read_bytes()[:-512])
    with pytest.raises(VhdError, match="no VHD footer"):
        inspect_path(headless)


def test_footer_of_another_size_is_refused(gen1_vhd: Path) -> None:
    content = gen1_vhd.read_bytes()
    with pytest.raises(VhdError, match="promises"):
        open_image(io.BytesIO(content[: 64 * 2**20] + content[-512:]))


@pytest.mark.parametrize("content", [b"", b"x" * 300, bytes(4096), b"MZ" + bytes(5000)])
def test_other_files_are_no_disk_images(content: bytes) -> None:
    with pytest.raises(VhdError):
        open_image(io.BytesIO(content))
