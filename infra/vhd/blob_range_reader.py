"""Reads a disk that lies in blob storage, or behind any other server of byte ranges, without copying it."""

from __future__ import annotations

import io
import os
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

from azure.core import MatchConditions
from azure.core.exceptions import AzureError, HttpResponseError
from azure.storage.blob import BlobClient

from images.errors import CloudError

FetchRange = Callable[[int, int], bytes]
"""(offset, length) -> exactly these bytes; called from several threads at once."""
_PARALLEL = 4


@dataclass(frozen=True)
class RangeTraffic:
    """What reading cost so far."""

    requests: int
    bytes_read: int


class BlobRangeReader(io.RawIOBase):
    """A page blob as a seekable file: blocks are cached, and reading on in order fetches ever more of them ahead, several at once.

    Use it as a context manager; it owns threads. Raises CloudError when the storage refuses, or when the blob changed meanwhile.
    """

    def __init__(
        self, fetch: FetchRange, size: int, *, block_bytes: int = 64 * 1024, max_blocks: int = 512, max_ahead_blocks: int = 64
    ) -> None:
        super().__init__()
        if max_ahead_blocks >= max_blocks:
            raise ValueError("the cache must hold more than what is read ahead")
        self._fetch = fetch
        self.size = size
        self._block_bytes = block_bytes
        self._max_blocks = max_blocks
        self._max_ahead = max_ahead_blocks
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._position = 0
        self._ahead = 1
        self._expected = -1
        self._requests = 0
        self._bytes_read = 0
        self._threads = ThreadPoolExecutor(_PARALLEL, thread_name_prefix="blob-range")

    @classmethod
    def open_url(cls, url: str, *, block_bytes: int = 64 * 1024) -> Self:
        """The blob behind a URL with a SAS."""
        client = BlobClient.from_blob_url(url)
        try:
            return cls.open_client(client, block_bytes=block_bytes)
        except BaseException:
            client.close()
            raise

    @classmethod
    def open_client(cls, client: BlobClient, *, block_bytes: int = 64 * 1024) -> Self:
        """The blob of an SDK client, which is closed with the reader."""
        try:
            properties = client.get_blob_properties()
        except AzureError as error:
            raise _refused(error) from error
        etag = properties.etag

        def fetch(offset: int, length: int) -> bytes:
            try:
                stream = client.download_blob(offset, length, etag=etag, match_condition=MatchConditions.IfNotModified, max_concurrency=1)
                return stream.readall()
            except AzureError as error:
                raise _refused(error) from error

        reader = cls(fetch, properties.size, block_bytes=block_bytes)
        reader._client = client
        return reader

    _client: BlobClient | None = None

    @property
    def traffic(self) -> RangeTraffic:
        """Requests and bytes so far."""
        return RangeTraffic(self._requests, self._bytes_read)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise OSError("seek before the start of the blob")
        self._position = base + offset
        return self._position

    def read(self, size: int = -1) -> bytes:
        """At most the rest of one block, as a raw stream may."""
        left = max(0, self.size - self._position)
        index, within = divmod(self._position, self._block_bytes)
        wanted = min(left if size < 0 else min(size, left), self._block_bytes - within)
        if not wanted:
            return b""
        data = self._block(index)[within : within + wanted]
        self._position += wanted
        return data

    def close(self) -> None:
        """End the threads and the connection."""
        if not self.closed:
            self._threads.shutdown(wait=True, cancel_futures=True)
            if self._client is not None:
                self._client.close()
        super().close()

    def _block(self, index: int) -> bytes:
        block = self._blocks.get(index)
        if block is None:
            self._ahead = min(2 * self._ahead, self._max_ahead) if index == self._expected else 1
            self._load(index)
            block = self._blocks[index]
        else:
            self._blocks.move_to_end(index)
        return block

    def _load(self, first: int) -> None:
        count = 0
        last_block = (self.size - 1) // self._block_bytes
        while count < self._ahead and first + count <= last_block and first + count not in self._blocks:
            count += 1
        share = -(-count // _PARALLEL)
        parts = [(start, min(share, first + count - start)) for start in range(first, first + count, share)]
        for (start, blocks), data in zip(parts, self._threads.map(lambda part: self._fetch_blocks(*part), parts), strict=True):
            self._requests += 1
            self._bytes_read += len(data)
            for number in range(blocks):
                self._blocks[start + number] = data[number * self._block_bytes : (number + 1) * self._block_bytes]
        self._expected = first + count
        # What was just read stays: the cache holds more than the largest read ahead.
        while len(self._blocks) > self._max_blocks:
            self._blocks.popitem(last=False)

    def _fetch_blocks(self, start: int, blocks: int) -> bytes:
        offset = start * self._block_bytes
        length = min(blocks * self._block_bytes, self.size - offset)
        data = self._fetch(offset, length)
        if len(data) != length:
            raise CloudError(f"the storage gave {len(data)} of {length} bytes at {offset}", hint="the blob may have been changed")
        return data


def _refused(error: AzureError) -> CloudError:
    # Never str(error): it may hold the URL with its SAS.
    if not isinstance(error, HttpResponseError):
        return CloudError(f"the blob can not be reached: {type(error).__name__}", hint="is the storage account reachable from here?")
    status = error.status_code or 0
    code = str(getattr(error, "error_code", "") or "")
    headers = getattr(error.response, "headers", None) or {}
    hints = {403: "is the SAS still valid, and does it allow reading?", 404: "is the blob's name right?", 412: "the blob was changed"}
    return CloudError(
        f"the storage refused to read the blob: {code or status}",
        code=code,
        status=status,
        request_id=str(headers.get("x-ms-request-id", "")),
        hint=hints.get(status, ""),
    )
