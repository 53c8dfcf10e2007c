"""Damaged disks: a typed error or some inventory, never a crash, a hang or a heap of memory."""

from __future__ import annotations

import contextlib
import io
import random
import time
from pathlib import Path

import pytest

from infra.vhd.errors import VhdError
from infra.vhd.image_file import open_image
from infra.vhd.offline_inventory import inspect_disk
from infra.vhd.partitions import read_partitions, windows_partition
from infra.vhd.source import ReadBudget, Window


class Patched(io.RawIOBase):
    """A file with some bytes changed, without copying it."""

    def __init__(self, path: Path, patches: dict[int, int]) -> None:
        super().__init__()
        self._file = path.open("rb")
        self._patches = patches

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int = -1) -> bytes:
        start = self._file.tell()
        data = bytearray(self._file.read(size))
        for position, flip in self._patches.items():
            if start <= position < start + len(data):
                data[position - start] ^= flip
        return bytes(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def _used_pages(path: Path) -> list[int]:
    """Offsets of 4 KiB pages that are not all zeros: flips elsewhere would test nothing."""
    content = path.read_bytes()
    zeros = bytes(4096)
    return [offset for offset in range(0, len(content), 4096) if content[offset : offset + 4096] != zeros]


@pytest.mark.parametrize("seed", range(4))
def test_flipped_bits_give_a_typed_error_or_an_inventory(gen2_vhd: Path, seed: int) -> None:
    random_source = random.Random(seed)
    pages = _used_pages(gen2_vhd)
    started = time.monotonic()
    refused = 0
    for _ in range(75):
        patches = {random_source.choice(pages) + random_source.randrange(4096): 1 << random_source.randrange(8) for _ in range(200)}
        with Patched(gen2_vhd, patches) as source:
            try:
                inspect_disk(source, hash_files=True)
            except VhdError:
                refused += 1
    assert refused > 0
    assert time.monotonic() - started < 60


@pytest.mark.parametrize("seed", range(2))
def test_damaged_index_records_and_hive_bins_are_met(gen1_vhd: Path, seed: int) -> None:
    """Whole structures overwritten: every FILE record, index block or bin is hit sooner or later."""
    random_source = random.Random(100 + seed)
    content = gen1_vhd.read_bytes()
    places = [offset for offset in range(0, len(content), 1024) if content[offset : offset + 4] in {b"FILE", b"INDX", b"hbin", b"regf"}]
    for _ in range(40):
        patches = {random_source.choice(places) + random_source.randrange(300): random_source.randrange(1, 256) for _ in range(60)}
        with Patched(gen1_vhd, patches) as source, contextlib.suppress(VhdError):
            inspect_disk(source, hash_files=False)


def test_partition_that_leaves_the_disk_is_refused(gen1_vhd: Path) -> None:
    with Patched(gen1_vhd, {446 + 15: 0x7F}) as source:
        image = open_image(source)
        with pytest.raises(VhdError):
            read_partitions(image.disk, image.size_bytes)


def test_disk_without_windows_is_refused(gen1_vhd: Path) -> None:
    with Patched(gen1_vhd, {(1 << 20) + 3: 0x20}) as source:
        image = open_image(source)
        with pytest.raises(VhdError, match="no NTFS partition"):
            windows_partition(image.disk, read_partitions(image.disk, image.size_bytes))


def test_reader_that_goes_in_circles_is_stopped() -> None:
    budget = ReadBudget(1 << 20)
    window = Window(io.BytesIO(bytes(1 << 20)), 0, 1 << 20, budget)
    with pytest.raises(VhdError, match="circles"):
        for _ in range(10_000):
            window.seek(0)
            window.read()
    assert isinstance(window.failure, VhdError)
