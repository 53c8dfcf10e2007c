"""Partitions of a disk (GPT and MBR) and the one that Windows lives in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pyvsgpt
import pyvsmbr

from infra.vhd.errors import VhdError, VhdNotFoundError
from infra.vhd.footer import SECTOR
from infra.vhd.source import ByteSource, Window, library_errors, read_exactly

NTFS_OEM_NAME = b"NTFS    "
_PROTECTIVE_MBR = 0xEE
MAX_PARTITIONS = 128


@dataclass(frozen=True)
class Partition:
    """A partition; `type` is the MBR's type byte as two hex digits or the GPT's type GUID, sizes in bytes."""

    number: int
    type: str
    offset: int
    size_bytes: int


@dataclass(frozen=True)
class PartitionTable:
    """All partitions of a disk in the order of the table."""

    scheme: Literal["MBR", "GPT"]
    partitions: tuple[Partition, ...]

    @property
    def generation(self) -> str:
        """Hyper-V generation that boots from such a table: MBR needs a BIOS (V1), GPT a UEFI (V2)."""
        return "V2" if self.scheme == "GPT" else "V1"


def read_partitions(disk: ByteSource, size_bytes: int) -> PartitionTable:
    """The partition table; VhdError when it is damaged or a partition leaves the disk."""
    first = read_exactly(disk, 0, SECTOR, "partition table")
    if first[510:] != b"\x55\xaa":
        raise VhdError("the disk has no partition table")
    protective = any(first[446 + 16 * entry + 4] == _PROTECTIVE_MBR for entry in range(4))
    scheme: Literal["MBR", "GPT"] = "GPT" if protective else "MBR"
    window = Window(disk, 0, size_bytes)
    volume = pyvsgpt.volume() if protective else pyvsmbr.volume()
    with library_errors(window, f"{scheme} partition table"):
        volume.open_file_object(window)
        try:
            if volume.number_of_partitions > MAX_PARTITIONS:
                raise VhdError(f"{volume.number_of_partitions} partitions are more than a Windows disk can have")
            found = tuple(
                Partition(
                    number=index + 1,
                    type=str(part.type_identifier) if protective else f"{part.type:02x}",
                    offset=part.volume_offset,
                    size_bytes=part.size,
                )
                for index, part in enumerate(volume.partitions)
            )
        finally:
            volume.close()
    for part in found:
        if part.offset < SECTOR or part.size_bytes <= 0 or part.offset + part.size_bytes > size_bytes:
            raise VhdError(f"partition {part.number} ({part.size_bytes} bytes at {part.offset}) leaves the disk of {size_bytes} bytes")
    return PartitionTable(scheme, found)


def windows_partition(disk: ByteSource, table: PartitionTable) -> Partition:
    """The largest NTFS partition: recovery and system partitions are smaller; VhdNotFoundError when there is none."""
    ntfs = [part for part in table.partitions if read_exactly(disk, part.offset, SECTOR, "boot sector")[3:11] == NTFS_OEM_NAME]
    if not ntfs:
        raise VhdNotFoundError("no NTFS partition on the disk", hint=f"{len(table.partitions)} partitions in its {table.scheme}")
    return max(ntfs, key=lambda part: part.size_bytes)
