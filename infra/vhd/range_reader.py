"""Reads a disk by byte ranges: small blocks that are kept, more ahead where reading goes on in order, several ranges at once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from images.errors import CloudError
from infra.vhd.sized_stream import SizedStream

FetchRange = Callable[[int, int], bytes]
"""(offset, length) -> exactly these bytes; called from several threads at once."""
BLOCK_BYTES = 4096
"""A cluster of a Windows volume: what lies beside a small file is somebody else's."""
_PART_BYTES = 1 << 20
_GAP_BLOCKS = 4
"""Two wanted ranges this near are one request: fetching 16 KiB costs less than asking again."""
_STREAMS = 16
_BESIDE_BLOCKS = 4
_WINDOW_BLOCKS = 256


@dataclass(frozen=True)
class RangeTraffic:
    """What reading cost so far."""

    requests: int
    bytes_read: int


class RangeReader(SizedStream):
    """Byte ranges as one seekable file. Use it as a context manager; it owns threads.

    Whoever reads on in order gets as much again ahead, up to `max_ahead_blocks`; several such places are followed at once, because a
    reader of NTFS goes to and fro between an index, the MFT and the files. At most `max_blocks` stay in memory.
    """

    def __init__(
        self,
        fetch: FetchRange,
        size: int,
        *,
        block_bytes: int = BLOCK_BYTES,
        max_blocks: int = 8192,
        max_ahead_blocks: int = 1024,
        parallel: int = 8,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__()
        if not 2 * _BESIDE_BLOCKS <= max_ahead_blocks < max_blocks:
            raise ValueError("the memory must hold more than what is read ahead, and that must be some blocks")
        self._fetch = fetch
        self.size = size
        self._block_bytes = block_bytes
        self._max_blocks = max_blocks
        self._max_ahead = max_ahead_blocks
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        # Those of them that reading led to; the others were fetched because somebody knew of them.
        self._asked_for: set[int] = set()
        # Where each stream of reads would go on -> how many blocks it got last.
        self._streams: OrderedDict[int, int] = OrderedDict()
        self._requests = 0
        self._bytes_read = 0
        self._threads = ThreadPoolExecutor(parallel, thread_name_prefix="range") if parallel > 1 else None
        self._on_close = on_close

    @property
    def traffic(self) -> RangeTraffic:
        """Requests and bytes so far."""
        return RangeTraffic(self._requests, self._bytes_read)

    def read(self, size: int = -1) -> bytes:
        """At most what is read ahead at once, as a raw stream may give less than it was asked for."""
        wanted = self._wanted(size, self._max_ahead * self._block_bytes // 2)
        if not wanted:
            return b""
        first, within = divmod(self._position, self._block_bytes)
        last = (self._position + wanted - 1) // self._block_bytes
        pieces = [self._block(index, last) for index in range(first, last + 1)]
        self._position += wanted
        return b"".join(pieces)[within : within + wanted] if len(pieces) > 1 else pieces[0][within : within + wanted]

    def prefetch(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Fetch (offset, length) ranges that will be needed soon, near ones with one request and several at once.

        Half of what the memory holds is fetched at most, what is beyond that only once it is read. Raises what reading raises.
        """
        wanted: set[int] = set()
        for offset, length in ranges:
            if length <= 0 or offset < 0 or offset >= self.size:
                continue
            end = min(offset + length, self.size)
            room = self._max_blocks // 2 - len(wanted)
            blocks = range(offset // self._block_bytes, (end - 1) // self._block_bytes + 1)[: max(0, room)]
            wanted.update(index for index in blocks if index not in self._blocks)
        self._load(_runs(sorted(wanted)))

    def close(self) -> None:
        """End the threads and the connection."""
        if not self.closed:
            if self._threads is not None:
                self._threads.shutdown(wait=True, cancel_futures=True)
            self._on_close()
        super().close()

    def _block(self, index: int, last_wanted: int) -> bytes:
        block = self._blocks.get(index)
        if block is not None:
            self._blocks.move_to_end(index)
            return block
        followed = self._streams.pop(index, 0)
        last_block = (self.size - 1) // self._block_bytes
        around = self._around(index)
        count = max(min(2 * followed, self._max_ahead), around.stop - index, last_wanted - index + 1)
        end = min(index + count, last_block + 1)
        missing = [block for block in range(around.start, end) if block not in self._blocks]
        self._load(_runs(missing))
        self._asked_for.update(missing)
        self._streams[end] = end - index
        if len(self._streams) > _STREAMS:
            self._streams.popitem(last=False)
        return self._blocks[index]

    def _around(self, index: int) -> range:
        """The blocks to fetch with this one: beside what was read before is the same structure (the MFT, an index, a hive), and the
        next reads will be there, in whatever order. Where half of a MiB was read, the rest will be too."""
        if not any(near in self._asked_for for near in range(index - _BESIDE_BLOCKS, index + _BESIDE_BLOCKS + 1)):
            return range(index, index + 1)
        start = index - index % _WINDOW_BLOCKS
        if (
            self._max_ahead >= _WINDOW_BLOCKS
            and 2 * sum(block in self._asked_for for block in range(start, start + _WINDOW_BLOCKS)) >= _WINDOW_BLOCKS
        ):
            return range(start, start + _WINDOW_BLOCKS)
        return range(index, index - index % _BESIDE_BLOCKS + _BESIDE_BLOCKS)

    def _load(self, runs: Sequence[tuple[int, int]]) -> None:
        part = max(1, _PART_BYTES // self._block_bytes)
        parts = [(at, min(part, first + count - at)) for first, count in runs for at in range(first, first + count, part)]
        fetched = self._threads.map(self._fetch_blocks, parts) if self._threads and len(parts) > 1 else map(self._fetch_blocks, parts)
        for (start, blocks), data in zip(parts, fetched, strict=True):
            self._requests += 1
            self._bytes_read += len(data)
            for number in range(blocks):
                self._blocks[start + number] = data[number * self._block_bytes : (number + 1) * self._block_bytes]
        # What was just read stays: the memory holds more than the largest read ahead.
        while len(self._blocks) > self._max_blocks:
            self._asked_for.discard(self._blocks.popitem(last=False)[0])

    def _fetch_blocks(self, part: tuple[int, int]) -> bytes:
        offset = part[0] * self._block_bytes
        length = min(part[1] * self._block_bytes, self.size - offset)
        data = self._fetch(offset, length)
        if len(data) != length:
            raise CloudError(f"the storage gave {len(data)} of {length} bytes at {offset}", hint="the disk may have been changed meanwhile")
        return data


def _runs(indexes: Sequence[int]) -> list[tuple[int, int]]:
    """(first, count) of neighbouring block numbers; small gaps are filled."""
    runs: list[tuple[int, int]] = []
    for index in indexes:
        if runs and index - sum(runs[-1]) < _GAP_BLOCKS:
            runs[-1] = (runs[-1][0], index - runs[-1][0] + 1)
        else:
            runs.append((index, 1))
    return runs
