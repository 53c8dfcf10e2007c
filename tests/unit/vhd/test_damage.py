"""Damage of known kinds: each is a typed error."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from infra.vhd.errors import VhdError
from infra.vhd.image_file import open_image
from infra.vhd.partitions import read_partitions, windows_partition
from infra.vhd.source import ReadBudget, Window
from tests.unit.vhd.damage import Patched


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
