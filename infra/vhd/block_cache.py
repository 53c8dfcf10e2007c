"""Keeps the blocks of a source that were read last, so that many small reads become few large ones."""

from __future__ import annotations

from collections import OrderedDict

from infra.vhd.sized_stream import SizedStream
from infra.vhd.source import ByteSource, read_exactly, size_of


class BlockCache(SizedStream):
    """A source that is read in whole blocks, of which the `max_blocks` used last stay in memory."""

    def __init__(self, source: ByteSource, *, block_bytes: int = 65536, max_blocks: int = 256) -> None:
        super().__init__()
        self._source = source
        self._block_bytes = block_bytes
        self._max_blocks = max_blocks
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self.size = size_of(source)

    def read(self, size: int = -1) -> bytes:
        """At most the rest of one block, as a raw stream may."""
        index, within = divmod(self._position, self._block_bytes)
        wanted = self._wanted(size, self._block_bytes - within)
        if not wanted:
            return b""
        data = self._block(index)[within : within + wanted]
        self._position += wanted
        return data

    def _block(self, index: int) -> bytes:
        block = self._blocks.get(index)
        if block is None:
            start = index * self._block_bytes
            block = read_exactly(self._source, start, min(self._block_bytes, self.size - start), "cached block")
            self._blocks[index] = block
            if len(self._blocks) > self._max_blocks:
                self._blocks.popitem(last=False)
        else:
            self._blocks.move_to_end(index)
        return block
