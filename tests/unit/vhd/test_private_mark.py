"""The mark of private work is found on a stopped disk, and a disk that nobody can read is not taken for a public one."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from images.privacy import MARK_KEY, MARK_VALUE
from infra.local.disks.vhd_writer import write_vhd
from infra.local.machine.disk import MachineDisk, RegistryData
from infra.vhd.errors import VhdError
from infra.vhd.footer import make_footer
from infra.vhd.inspect import inspect_path, open_file
from infra.vhd.private_mark import UNREADABLE_MARK, private_mark

SCOPE = "private-3f0c9a1b22d4"


@pytest.fixture
def marked(tmp_path: Path, samples: dict[str, tuple[MachineDisk, Path]]) -> Callable[..., Path]:
    """Writes a VHD whose disk bears a mark with this data."""

    def write(data: RegistryData, generation: str = "V1") -> Path:
        samples[generation][0].copy_to(tmp_path / "disk")
        disk = MachineDisk.open(tmp_path / "disk")
        disk.make_key(MARK_KEY).set(MARK_VALUE, data)
        write_vhd(disk, tmp_path / "marked.vhd")
        return tmp_path / "marked.vhd"

    return write


def mark_of(path: Path) -> str | None:
    with open_file(path) as reader:
        return private_mark(reader)


@pytest.mark.parametrize("generation", ["V1", "V2"])
def test_the_mark_on_the_disk_is_read(marked: Callable[..., Path], generation: str) -> None:
    assert mark_of(marked(SCOPE, generation)) == SCOPE


@pytest.mark.parametrize("generation", ["V1", "V2"])
def test_a_public_image_has_none(samples: dict[str, tuple[MachineDisk, Path]], generation: str) -> None:
    assert mark_of(samples[generation][1]) is None


@pytest.mark.parametrize("data", [1, "", ["a", "b"], b"\x01"])
def test_a_mark_that_says_nothing_is_a_mark(marked: Callable[..., Path], data: RegistryData) -> None:
    assert mark_of(marked(data)) == UNREADABLE_MARK


def test_an_inspection_shows_the_mark(marked: Callable[..., Path]) -> None:
    registry = inspect_path(marked(SCOPE)).inventory.registry
    assert [value.value for value in registry if value.path == MARK_KEY] == [SCOPE]


def test_reading_the_mark_reads_little_of_the_disk(gen2_vhd: Path) -> None:
    with open_file(gen2_vhd) as reader:
        private_mark(reader)
        assert reader.traffic.bytes_read < gen2_vhd.stat().st_size / 10


def test_a_disk_that_no_machine_starts_from_has_no_mark() -> None:
    footer = make_footer(1 << 20, unique_id=UUID(int=7), created=datetime(2026, 1, 1, tzinfo=UTC))
    assert private_mark(io.BytesIO(bytes(1 << 20) + footer)) is None


def test_bytes_that_are_no_disk_are_an_error_and_not_public() -> None:
    with pytest.raises(VhdError):
        private_mark(io.BytesIO(bytes(1 << 20)))


def test_a_disk_that_can_not_be_read_is_an_error_and_not_public(gen1_vhd: Path) -> None:
    content = bytearray(gen1_vhd.read_bytes())
    start = content.index(b"NTFS    ")
    # As BitLocker leaves it: https://learn.microsoft.com/windows/security/operating-system-security/data-protection/bitlocker/
    content[start : start + 8] = b"-FVE-FS-"
    with pytest.raises(VhdError):
        private_mark(io.BytesIO(bytes(content)))


def test_a_disk_whose_registry_is_damaged_is_an_error(gen1_vhd: Path) -> None:
    content = gen1_vhd.read_bytes().replace(b"regf", b"fger")
    with pytest.raises(VhdError):
        private_mark(io.BytesIO(content))
