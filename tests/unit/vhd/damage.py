"""Disks with some bytes changed, and where changes meet something."""

from __future__ import annotations

import io
import random
from collections.abc import Iterable, Mapping
from pathlib import Path

PAGE = 4096


class Patched(io.RawIOBase):
    """An image with some bytes flipped and the end cut off, without copying it."""

    def __init__(self, path: Path, flips: Mapping[int, int] | None = None, *, length: int | None = None) -> None:
        super().__init__()
        self._file = path.open("rb")
        self._flips = flips or {}
        self._length = path.stat().st_size if length is None else length

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(self._length + offset if whence == 2 else offset, 0 if whence == 2 else whence)

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int = -1) -> bytes:
        start = self._file.tell()
        left = max(0, self._length - start)
        data = bytearray(self._file.read(left if size < 0 else min(size, left)))
        for position, flip in self._flips.items():
            if start <= position < start + len(data):
                data[position - start] ^= flip
        return bytes(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def used_pages(content: bytes) -> list[int]:
    """Offsets of the pages that are not all zeros: flips elsewhere would test nothing."""
    zeros = bytes(PAGE)
    return [offset for offset in range(0, len(content), PAGE) if content[offset : offset + PAGE] != zeros]


def structures(content: bytes) -> list[int]:
    """Offsets of MFT records, index blocks, and base blocks and bins of hives."""
    return [offset for offset in range(0, len(content), 1024) if content[offset : offset + 4] in {b"FILE", b"INDX", b"hbin", b"regf"}]


def bit_flips(source: random.Random, places: list[int], within: int, count: int) -> dict[int, int]:
    """`count` single bits, each somewhere in the bytes after one of the places."""
    return {source.choice(places) + source.randrange(within): 1 << source.randrange(8) for _ in range(count)}


def byte_changes(source: random.Random, places: list[int], within: int, count: int) -> dict[int, int]:
    """`count` whole bytes, as above."""
    return {source.choice(places) + source.randrange(within): source.randrange(1, 256) for _ in range(count)}


def flipped(content: bytes, flips: Iterable[tuple[int, int]]) -> bytes:
    """The content with bytes XOR-ed."""
    changed = bytearray(content)
    for position, flip in flips:
        changed[position % len(changed)] ^= flip
    return bytes(changed)
