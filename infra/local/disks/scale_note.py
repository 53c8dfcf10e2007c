"""The stand-in's note on a VHD: the sizes that its machine believes in.

Disks of the stand-in are scaled down to hundreds of MiB, while their machines see disks of 30 GiB and more. The nominal sizes must
survive capture, upload, copy and the next boot, yet nothing of the stand-in may appear inside the Windows volume, where an inventory would
find it. They are kept in a sector that both partition schemes leave unused: behind the GPT's table (sectors 2 to 33) and before the first
partition (sector 2048).
"""

from __future__ import annotations

import json
from dataclasses import dataclass

NOTE_OFFSET = 64 * 512
NOTE_SIZE = 512
_MAGIC = b"winvhd stand-in\0"


@dataclass(frozen=True)
class ScaleNote:
    """Nominal sizes of the disk and of C: in GiB."""

    size_gib: int
    partition_gib: int

    def pack(self) -> bytes:
        """The note as one sector."""
        return (_MAGIC + json.dumps({"size_gib": self.size_gib, "partition_gib": self.partition_gib}).encode()).ljust(NOTE_SIZE, b"\0")


def read_note(block: bytes) -> ScaleNote | None:
    """The note in a sector, or None for a disk that the stand-in did not write."""
    if not block.startswith(_MAGIC):
        return None
    try:
        stored = json.loads(block[len(_MAGIC) :].rstrip(b"\0"))
        return ScaleNote(int(stored["size_gib"]), int(stored["partition_gib"]))
    except (ValueError, KeyError, TypeError):
        return None
