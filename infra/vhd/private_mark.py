r"""The mark of private work inside a disk image, read without starting it: HKLM\SOFTWARE\winvhd, value Scope."""

from __future__ import annotations

from typing import Final

from images.privacy import MARK_KEY, MARK_VALUE
from infra.vhd.footer import SECTOR
from infra.vhd.hives import open_hive
from infra.vhd.image_file import open_image
from infra.vhd.ntfs import NtfsVolume
from infra.vhd.partitions import read_partitions, windows_partition
from infra.vhd.source import ByteSource, read_exactly

UNREADABLE_MARK: Final = "private"
"""What a mark counts as whose value is not text: somebody marked the image, whatever the mark says."""

_HIVE, _, _KEY = MARK_KEY.replace("HKLM:\\", "", 1).partition("\\")


def private_mark(source: ByteSource) -> str | None:
    """The scope that a disk image bears inside, None for one without the mark and for a disk from which no machine starts.

    Raises VhdError for any other disk that can not be read to the end of the question, an encrypted one for example: it may be private.
    """
    image = open_image(source, require_footer=False)
    if image.size_bytes < SECTOR or read_exactly(image.disk, 0, SECTOR, "partition table")[510:] != b"\x55\xaa":
        return None
    part = windows_partition(image.disk, read_partitions(image.disk, image.size_bytes))
    with NtfsVolume(image.disk, part.offset, part.size_bytes) as volume, open_hive(volume, _HIVE) as hive:
        key = hive.root.find(_KEY)
        value = key.get(MARK_VALUE) if key is not None else None
    if value is None:
        return None
    return value if isinstance(value, str) and value else UNREADABLE_MARK
