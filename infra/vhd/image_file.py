"""A disk image as the disk it holds: fixed VHD, dynamic VHD or raw.

Source: Microsoft, Virtual Hard Disk Image Format Specification, version 1.0 (2006).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal

from infra.vhd.errors import VhdError
from infra.vhd.footer import COOKIE, FOOTER_SIZE, SECTOR, DiskType, Footer, checksum, parse_footer
from infra.vhd.sized_stream import SizedStream
from infra.vhd.source import ByteSource, Window, read_exactly, size_of

_DYNAMIC_HEADER_SIZE = 1024
_DYNAMIC_HEADER = struct.Struct(">8sQQIIII")
_DYNAMIC_CHECKSUM_OFFSET = 36
_UNUSED_BLOCK = 0xFFFF_FFFF


@dataclass(frozen=True)
class DiskImage:
    """The disk inside an image: `disk` reads its bytes, `footer` is None for a raw image."""

    kind: Literal["fixed", "dynamic", "raw"]
    size_bytes: int
    footer: Footer | None
    disk: ByteSource


class DynamicDisk(SizedStream):
    """The disk of a dynamic VHD: blocks that the allocation table does not place read as zeros."""

    def __init__(self, source: ByteSource, footer: Footer) -> None:
        super().__init__()
        image_size = size_of(source)
        header = read_exactly(source, footer.data_offset, _DYNAMIC_HEADER_SIZE, "header of the dynamic VHD")
        cookie, _next, table_offset, _version, entries, block_size, stored = _DYNAMIC_HEADER.unpack(header[: _DYNAMIC_HEADER.size])
        if cookie != b"cxsparse" or checksum(header, _DYNAMIC_CHECKSUM_OFFSET) != stored:
            raise VhdError("the header of the dynamic VHD is damaged")
        if block_size < 4096 or block_size > 2**28 or block_size & (block_size - 1):
            raise VhdError(f"the dynamic VHD gives an impossible block size of {block_size} bytes")
        needed = -(-footer.size_bytes // block_size)
        # The table must lie in the file, so a header that claims more entries than that can never make us allocate them.
        if entries < needed or table_offset + 4 * needed > image_size:
            raise VhdError(f"the allocation table of the dynamic VHD ({entries} entries) does not fit the disk or the file")
        table = read_exactly(source, table_offset, 4 * needed, "allocation table of the dynamic VHD")
        self._blocks = struct.unpack(f">{needed}I", table)
        self._bitmap_bytes = -(-(block_size // SECTOR // 8) // SECTOR) * SECTOR
        self._source = source
        self._block_size = block_size
        self.size = footer.size_bytes

    def read(self, size: int = -1) -> bytes:
        """At most the rest of one block, as a raw stream may."""
        index, within = divmod(self._position, self._block_size)
        wanted = self._wanted(size, self._block_size - within)
        if not wanted:
            return b""
        sector = self._blocks[index]
        if sector == _UNUSED_BLOCK:
            data = bytes(wanted)
        else:
            data = read_exactly(self._source, sector * SECTOR + self._bitmap_bytes + within, wanted, f"block {index} of the dynamic VHD")
        self._position += wanted
        return data


def open_image(source: ByteSource, *, require_footer: bool = False) -> DiskImage:
    """The disk in an image; VhdError when it is truncated, damaged, differencing, or (with require_footer) raw."""
    image_size = size_of(source)
    if image_size < 2 * SECTOR:
        raise VhdError(
            f"{image_size} bytes are no disk image", hint="give a fixed or dynamic VHD, or a raw disk; is its download complete?"
        )
    last = read_exactly(source, image_size - FOOTER_SIZE, FOOTER_SIZE, "footer")
    if last.startswith(COOKIE):
        footer = parse_footer(last)
        if footer.disk_type is DiskType.DYNAMIC:
            return DiskImage("dynamic", footer.size_bytes, footer, DynamicDisk(source, footer))
        if footer.disk_type is DiskType.DIFFERENCING:
            raise VhdError("a differencing VHD holds only changes to its parent", hint="merge it into its parent first")
        if footer.size_bytes != image_size - FOOTER_SIZE:
            raise VhdError(
                f"the footer promises {footer.size_bytes} bytes, the file holds {image_size - FOOTER_SIZE}", hint="is the file complete?"
            )
        return DiskImage("fixed", footer.size_bytes, footer, Window(source, 0, footer.size_bytes))
    first = read_exactly(source, 0, SECTOR, "first sector")
    if first.startswith(COOKIE):
        raise VhdError("a dynamic VHD without its footer at the end", hint="the file is truncated")
    if require_footer:
        raise VhdError("the last 512 bytes are no VHD footer", hint="the file is truncated, or it is a raw image")
    if image_size % SECTOR or first[510:] != b"\x55\xaa":
        raise VhdError("neither a VHD nor a raw disk: no footer, and no partition table in the first sector", hint="is the file complete?")
    return DiskImage("raw", image_size, None, Window(source, 0, image_size))
