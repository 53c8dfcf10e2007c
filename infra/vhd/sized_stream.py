"""SizedStream: what every read-only stream of this package has in common: a size, a position, and seeking in it."""

from __future__ import annotations

import io
import os


class SizedStream(io.RawIOBase):
    """A stream of known size in bytes; a subclass sets `size` and reads at `_position`."""

    size: int = 0
    _position: int = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """The new position, which may lie behind the end; OSError before the start."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise OSError("seek before the start")
        self._position = base + offset
        return self._position

    def _wanted(self, size: int, at_most: int | None = None) -> int:
        """How many bytes a read of `size` (negative: all) gives from here."""
        left = max(0, self.size - self._position)
        wanted = left if size < 0 else min(size, left)
        return wanted if at_most is None else min(wanted, at_most)
