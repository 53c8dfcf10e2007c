"""Makes the EFI system partition's file system: an empty FAT12 volume.

The stand-in has no boot loader, so the partition stays empty; it is formatted since firmware and partition tools expect a FAT volume there.
Source: Microsoft, FAT: General Overview of On-Disk Format, version 1.03 (2000).
"""

from __future__ import annotations

import struct

_SECTOR = 512
_SECTORS_PER_CLUSTER = 4
_ROOT_ENTRIES = 512


def make_empty_fat_volume(size_bytes: int, first_sector: int, serial: int) -> bytes:
    """The first sectors of an empty volume of at most 8 MiB; what follows them is zeros."""
    sectors = size_bytes // _SECTOR
    clusters = sectors // _SECTORS_PER_CLUSTER
    if clusters >= 4085:
        raise ValueError(f"{size_bytes} bytes are too many for FAT12")
    fat_sectors = -(-(clusters + 2) * 3 // 2 // _SECTOR)
    boot = struct.pack(
        "<3s8sHBHBHHBHHHIIBBBI11s8s",
        b"\xeb\x3c\x90",
        b"MSDOS5.0",
        _SECTOR,
        _SECTORS_PER_CLUSTER,
        1,
        2,
        _ROOT_ENTRIES,
        sectors,
        0xF8,
        fat_sectors,
        63,
        255,
        first_sector,
        0,
        0x80,
        0,
        0x29,
        serial,
        b"NO NAME    ",
        b"FAT12   ",
    )
    fat = b"\xf8\xff\xff".ljust(fat_sectors * _SECTOR, b"\0")
    return boot.ljust(510, b"\0") + b"\x55\xaa" + fat * 2
