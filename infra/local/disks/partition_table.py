"""Writes partition tables: MBR for machines of generation V1, GPT for V2.

Sources: UEFI Specification 2.10, section 5 (GUID Partition Table); Microsoft, "UEFI/GPT-based hard drive partitions" for the order EFI
system, reserved, Windows (https://learn.microsoft.com/en-us/windows-hardware/manufacture/desktop/configure-uefigpt-based-hard-drive-partitions).
"""

from __future__ import annotations

import struct
import uuid
import zlib
from dataclasses import dataclass

MIB = 2**20
SECTOR = 512
_ENTRIES = 128
_ENTRY_SIZE = 128
_TABLE_SECTORS = _ENTRIES * _ENTRY_SIZE // SECTOR
_EFI_SYSTEM = uuid.UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
_MICROSOFT_RESERVED = uuid.UUID("e3c9e316-0b5c-4db8-817d-f92df00215ae")
_BASIC_DATA = uuid.UUID("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7")


@dataclass(frozen=True)
class Layout:
    """Where things go on a disk of `size_bytes`; offsets and sizes in bytes, the EFI system partition only with GPT."""

    generation: str
    size_bytes: int
    efi_offset: int
    efi_bytes: int
    windows_offset: int
    windows_bytes: int


def layout_of(generation: str, windows_bytes: int) -> Layout:
    """The layout of the smallest disk that has a Windows partition of this size, a whole number of MiB."""
    if generation == "V1":
        return Layout(generation, MIB + windows_bytes, 0, 0, MIB, windows_bytes)
    # 1 MiB table, 2 MiB EFI system, 1 MiB reserved, Windows, 1 MiB for the copy of the table.
    return Layout(generation, 5 * MIB + windows_bytes, MIB, 2 * MIB, 4 * MIB, windows_bytes)


def make_partition_table(layout: Layout, disk_id: uuid.UUID) -> dict[int, bytes]:
    """The blocks to write, by their offset; the same arguments give the same bytes."""
    if layout.generation == "V1":
        entry = _mbr_entry(0x80, 0x07, layout.windows_offset // SECTOR, layout.windows_bytes // SECTOR)
        return {0: _mbr([entry], disk_id.bytes[:4])}
    last = layout.size_bytes // SECTOR - 1
    parts = (
        (_EFI_SYSTEM, layout.efi_offset, layout.efi_bytes, "EFI system partition"),
        (_MICROSOFT_RESERVED, layout.efi_offset + layout.efi_bytes, MIB, "Microsoft reserved partition"),
        (_BASIC_DATA, layout.windows_offset, layout.windows_bytes, "Basic data partition"),
    )
    entries = b"".join(
        struct.pack(
            "<16s16sQQQ72s",
            kind.bytes_le,
            uuid.uuid5(disk_id, name).bytes_le,
            offset // SECTOR,
            (offset + size) // SECTOR - 1,
            0,
            name.encode("utf-16-le"),
        )
        for kind, offset, size, name in parts
    ).ljust(_ENTRIES * _ENTRY_SIZE, b"\0")
    protective = _mbr([_mbr_entry(0, 0xEE, 1, last)], bytes(4))
    return {
        0: protective,
        SECTOR: _gpt_header(1, last, 2, entries, disk_id, last),
        2 * SECTOR: entries,
        (last - _TABLE_SECTORS) * SECTOR: entries,
        last * SECTOR: _gpt_header(last, 1, last - _TABLE_SECTORS, entries, disk_id, last),
    }


def _mbr(entries: list[bytes], signature: bytes) -> bytes:
    return (bytes(440) + signature + bytes(2) + b"".join(entries)).ljust(510, b"\0") + b"\x55\xaa"


def _mbr_entry(status: int, kind: int, first: int, count: int) -> bytes:
    # Cylinder, head and sector can not reach this far; all ones say: use the sector numbers.
    beyond = b"\xfe\xff\xff"
    return struct.pack("<B3sB3sII", status, beyond, kind, beyond, first, min(count, 0xFFFF_FFFF))


def _gpt_header(own: int, other: int, table: int, entries: bytes, disk_id: uuid.UUID, last: int) -> bytes:
    def packed(crc: int) -> bytes:
        return struct.pack(
            "<8sIIIIQQQQ16sQIII",
            b"EFI PART",
            0x0001_0000,
            92,
            crc,
            0,
            own,
            other,
            2 + _TABLE_SECTORS,
            last - _TABLE_SECTORS - 1,
            disk_id.bytes_le,
            table,
            _ENTRIES,
            _ENTRY_SIZE,
            zlib.crc32(entries),
        )

    return packed(zlib.crc32(packed(0))).ljust(SECTOR, b"\0")
