"""The footer of a VHD: 512 big-endian bytes behind the disk that begin with `conectix`.

Source: Microsoft, Virtual Hard Disk Image Format Specification, version 1.0 (2006).
"""

from __future__ import annotations

import struct
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum

from infra.vhd.errors import VhdError

FOOTER_SIZE = 512
SECTOR = 512
COOKIE = b"conectix"
NO_OFFSET = 0xFFFF_FFFF_FFFF_FFFF
_LAYOUT = struct.Struct(">8sIIQI4sI4sQQHBBII16sB427x")
_CHECKSUM_OFFSET = 64
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
MAX_SIZE_BYTES = 2040 * 2**30
"""The format's own limit for a disk."""


class DiskType(IntEnum):
    """The kinds of VHD that the specification names."""

    FIXED = 2
    DYNAMIC = 3
    DIFFERENCING = 4


@dataclass(frozen=True)
class Geometry:
    """Cylinders, heads and sectors per track, as a BIOS would see the disk."""

    cylinders: int
    heads: int
    sectors: int


@dataclass(frozen=True)
class Footer:
    """What a footer says of its disk; sizes in bytes."""

    size_bytes: int
    disk_type: DiskType
    data_offset: int
    created: datetime
    unique_id: uuid.UUID
    geometry: Geometry


def geometry_of(size_bytes: int) -> Geometry:
    """The geometry that the specification's appendix computes for a disk of this size."""
    total = min(size_bytes // SECTOR, 65535 * 16 * 255)
    if total >= 65535 * 16 * 63:
        heads, sectors, tracks = 16, 255, total // 255
    else:
        sectors = 17
        tracks = total // sectors
        heads = max((tracks + 1023) // 1024, 4)
        if tracks >= heads * 1024 or heads > 16:
            heads, sectors = 16, 31
            tracks = total // sectors
        if tracks >= heads * 1024:
            heads, sectors = 16, 63
            tracks = total // sectors
    return Geometry(tracks // heads, heads, sectors)


def checksum(block: bytes, offset: int) -> int:
    """One's complement of the sum of all bytes, with the four bytes of the checksum itself at `offset` left out."""
    return ~(sum(block) - sum(block[offset : offset + 4])) & 0xFFFF_FFFF


def make_footer(
    size_bytes: int,
    *,
    unique_id: uuid.UUID,
    created: datetime,
    disk_type: DiskType = DiskType.FIXED,
    data_offset: int = NO_OFFSET,
) -> bytes:
    """The footer of a disk of `size_bytes`; the same arguments give the same bytes."""
    # Creator `win ` makes readers take the size field rather than the geometry, which can not express every size (qemu: block/vpc.c).
    geometry = geometry_of(size_bytes)
    seconds = max(0, int((created - _EPOCH).total_seconds()))
    packed = bytearray(
        _LAYOUT.pack(
            COOKIE,
            2,  # features: reserved bit, always set
            0x0001_0000,
            data_offset,
            seconds,
            b"win ",
            0x000A_0000,
            b"Wi2k",
            size_bytes,
            size_bytes,
            geometry.cylinders,
            geometry.heads,
            geometry.sectors,
            disk_type,
            0,
            unique_id.bytes,
            0,
        )
    )
    packed[_CHECKSUM_OFFSET : _CHECKSUM_OFFSET + 4] = checksum(bytes(packed), _CHECKSUM_OFFSET).to_bytes(4, "big")
    return bytes(packed)


def parse_footer(block: bytes) -> Footer:
    """The footer in a 512-byte block; VhdError when it is damaged or beyond the format's limits."""
    if len(block) != FOOTER_SIZE or not block.startswith(COOKIE):
        raise VhdError("no VHD footer: the last 512 bytes do not begin with `conectix`", hint="is the file complete?")
    fields = _LAYOUT.unpack(block)
    stored = fields[14]
    computed = checksum(block, _CHECKSUM_OFFSET)
    if stored != computed:
        raise VhdError(f"the VHD footer is damaged: its checksum is {stored:08x}, the block's is {computed:08x}")
    try:
        disk_type = DiskType(fields[13])
    except ValueError as error:
        raise VhdError(f"the VHD footer names an unknown kind of disk: {fields[13]}") from error
    size_bytes = fields[9]
    if not 0 < size_bytes <= MAX_SIZE_BYTES or size_bytes % SECTOR:
        raise VhdError(f"the VHD footer gives an impossible size of {size_bytes} bytes")
    return Footer(
        size_bytes=size_bytes,
        disk_type=disk_type,
        data_offset=fields[3],
        created=_EPOCH + timedelta(seconds=fields[4]),
        unique_id=uuid.UUID(bytes=fields[15]),
        geometry=Geometry(fields[10], fields[11], fields[12]),
    )
