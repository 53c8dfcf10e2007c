"""The VHD footer."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import pytest

from infra.vhd.errors import VhdError
from infra.vhd.footer import DiskType, Geometry, geometry_of, make_footer, parse_footer

MIB = 2**20
ID = uuid.UUID("5f0a2f5e-0c57-4bb0-a6a4-2a3a5b8d9c01")
CREATED = datetime(2026, 8, 12, 3, 4, 5, tzinfo=UTC)


def test_footer_is_read_back_as_it_was_made() -> None:
    footer = parse_footer(make_footer(128 * MIB, unique_id=ID, created=CREATED))
    assert (footer.size_bytes, footer.disk_type, footer.unique_id, footer.created) == (128 * MIB, DiskType.FIXED, ID, CREATED)


def test_same_arguments_make_the_same_footer() -> None:
    assert make_footer(MIB, unique_id=ID, created=CREATED) == make_footer(MIB, unique_id=ID, created=CREATED)


@pytest.mark.parametrize(
    ("size_bytes", "geometry"),
    [(128 * MIB, Geometry(963, 16, 17)), (30 * 2**30, Geometry(62415, 16, 63)), (127 * 2**30, Geometry(65278, 16, 255))],
)
def test_geometry_follows_the_specification(size_bytes: int, geometry: Geometry) -> None:
    assert geometry_of(size_bytes) == geometry


@pytest.mark.parametrize("position", range(0, 84, 3))
def test_one_changed_byte_is_found(position: int) -> None:
    block = bytearray(make_footer(128 * MIB, unique_id=ID, created=CREATED))
    block[position] ^= 0x10
    with pytest.raises(VhdError):
        parse_footer(bytes(block))


def test_short_block_is_no_footer() -> None:
    with pytest.raises(VhdError, match="no VHD footer"):
        parse_footer(make_footer(MIB, unique_id=ID, created=CREATED)[:511])


def test_absurd_size_is_refused() -> None:
    with pytest.raises(VhdError, match="impossible size"):
        parse_footer(make_footer(2**60, unique_id=ID, created=CREATED))
