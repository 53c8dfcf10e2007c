"""What the readers read from: anything with read, seek and tell; and views on a part of it that check and bound every read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

from infra.vhd.errors import VhdError
from infra.vhd.sized_stream import SizedStream

MAX_READ_BYTES = 64 * 2**20
"""No structure of a disk is read in a larger piece; damage that asks for more is refused instead of allocated."""
_MAX_OFFSET = 2**62
"""Damaged pointers may be larger than what a file can be asked to seek to."""


class ByteSource(Protocol):
    """A seekable stream of bytes, such as an open file or `blob_range_reader.BlobRangeReader`."""

    def read(self, size: int = -1, /) -> bytes: ...
    def seek(self, offset: int, whence: int = 0, /) -> int: ...
    def tell(self) -> int: ...


@runtime_checkable
class Prefetching(Protocol):
    """A source that fetches several ranges at once when it is told what will be read."""

    def prefetch(self, ranges: Iterable[tuple[int, int]]) -> None: ...


def prefetch(source: ByteSource, ranges: Iterable[tuple[int, int]]) -> None:
    """Tell a source which (offset, length) ranges will be read soon; nothing happens where that makes no difference."""
    if isinstance(source, Prefetching):
        source.prefetch(ranges)


def size_of(source: ByteSource) -> int:
    """Length of a source in bytes; its position moves to the end."""
    return source.seek(0, os.SEEK_END)


def read_exactly(source: ByteSource, offset: int, size: int, what: str) -> bytes:
    """`size` bytes at `offset`; VhdError naming `what` when the source ends before, or when the size is absurd."""
    if size < 0 or not 0 <= offset <= _MAX_OFFSET or size > MAX_READ_BYTES:
        raise VhdError(f"{what}: {size} bytes at {offset} can not be right")
    source.seek(offset)
    pieces = bytearray()
    while len(pieces) < size:
        piece = source.read(size - len(pieces))
        if not piece:
            raise VhdError(f"{what}: the image ends {size - len(pieces)} bytes too early", hint="is the file complete?")
        pieces += piece
    return bytes(pieces)


class ReadBudget:
    """Stops a reader that a damaged structure sends round in circles: so many bytes and requests and no more."""

    def __init__(self, image_size_bytes: int) -> None:
        # Small images are read several times over (an index, then its files); nothing sound reads a large one four times.
        self.bytes_left = 64 * 2**20 + 4 * image_size_bytes
        self.reads_left = 200_000 + image_size_bytes // 1024

    def spend(self, size: int) -> None:
        """Count one read; VhdError once the budget is gone."""
        self.bytes_left -= size
        self.reads_left -= 1
        if self.bytes_left < 0 or self.reads_left < 0:
            raise VhdError("the image makes its reader go in circles: far more was read than it holds", hint="the disk is damaged")


class Window(SizedStream):
    """`size` bytes of a source from `offset`, as a file of its own that a C library can read.

    libyal turns an exception of the file object into an OSError of its own; the first one is kept in `failure` so that
    `library_errors` can raise it again.
    """

    def __init__(self, source: ByteSource, offset: int, size: int, budget: ReadBudget | None = None) -> None:
        super().__init__()
        self._source = source
        self._offset = offset
        self.size = size
        self._budget = budget or ReadBudget(size)
        self.failure: Exception | None = None

    def read(self, size: int = -1) -> bytes:
        try:
            wanted = self._wanted(size)
            if not wanted:
                return b""
            self._budget.spend(wanted)
            data = read_exactly(self._source, self._offset + self._position, wanted, "disk image")
        except Exception as error:
            self.failure = self.failure or error
            raise
        self._position += len(data)
        return data

    def prefetch(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Pass on what will be read; what lies outside the window is left out."""
        inside = [(offset, min(length, self.size - offset)) for offset, length in ranges if 0 <= offset < self.size and length > 0]
        prefetch(self._source, [(self._offset + offset, length) for offset, length in inside])

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def text_of(library_text: str) -> str:
    """A text that libyal gave, as Python makes it.

    pyregf 20260526 marks ASCII names as not ASCII, which breaks isascii() and bytes.fromhex(); unpaired surrogates stay as they are.
    """
    return library_text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


@contextmanager
def library_errors(window: Window, what: str) -> Iterator[None]:
    """Turn what libyal raises over damaged structures into a VhdError that names `what`; a failure of the source comes out as itself."""
    try:
        yield
    except VhdError:
        raise
    except (OSError, ValueError, RuntimeError, MemoryError, OverflowError, TypeError) as error:
        # TypeError: libyal gives None for what a damaged record lacks.
        if window.failure is not None:
            raise window.failure from error
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise VhdError(f"{what[:300]} is damaged: {text}") from error
