"""Reads a disk that lies in blob storage, or behind any other server of byte ranges, without copying it.

The requests are plain HTTP with a SAS: download_blob of azure-storage-blob 12.31 asks for the whole list of page ranges with every
range of a page blob that it reads (_download.py, _initial_request), which doubles the requests and, on a large disk, the bytes.
"""

from __future__ import annotations

import io
import os
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from images.errors import CloudError

FetchRange = Callable[[int, int], bytes]
"""(offset, length) -> exactly these bytes; called from several threads at once."""
_PARALLEL = 4
_ATTEMPTS = 5
_TIMEOUT_S = 60.0
_RETRIED = {408, 429, 500, 502, 503, 504}
# Any version from 2011-08-18 on reads ranges; this one is known to Azurite too.
_API_VERSION = "2021-12-02"
_HINTS = {
    403: "is the SAS still valid, and does it allow reading?",
    404: "is the blob's name right?",
    412: "the blob was changed meanwhile",
}


@dataclass(frozen=True)
class RangeTraffic:
    """What reading cost so far."""

    requests: int
    bytes_read: int


class _TryAgain(Exception):
    """A failure that another try may not meet; `error` is what to raise when there is no other."""

    def __init__(self, error: CloudError) -> None:
        super().__init__()
        self.error = error


class RangeServer:
    """One URL whose server answers byte ranges, pinned to the entity tag that it has now. Raises CloudError, which never shows the URL."""

    def __init__(self, url: str, *, first_wait_s: float = 0.5) -> None:
        self._url = url
        self._retrying = Retrying(
            stop=stop_after_attempt(_ATTEMPTS),
            wait=wait_exponential_jitter(multiplier=first_wait_s, max=20, jitter=first_wait_s),
            retry=retry_if_exception_type(_TryAgain),
            reraise=True,
        )
        # No proxy of the user's environment leads to this machine itself, where the storage emulator is.
        self._client = httpx.Client(timeout=_TIMEOUT_S, headers={"x-ms-version": _API_VERSION}, mounts={"all://127.0.0.1": None})
        self._etag = ""
        try:
            answer = self._send("HEAD", {})
            self._etag = answer.headers.get("ETag", "")
            self.size = int(answer.headers.get("Content-Length", "0"))
        except BaseException:
            self._client.close()
            raise

    def fetch(self, offset: int, length: int) -> bytes:
        """The bytes of a range."""
        # Range before x-ms-range: every server knows it, and Azure takes it as well.
        headers = {"Range": f"bytes={offset}-{offset + length - 1}"}
        if self._etag:
            headers["If-Match"] = self._etag
        answer = self._send("GET", headers)
        if answer.status_code != 206:
            raise CloudError("the server does not give ranges of the disk, only the whole", status=answer.status_code)
        return answer.content

    def close(self) -> None:
        """End the connections."""
        self._client.close()

    def _send(self, method: str, headers: dict[str, str]) -> httpx.Response:
        try:
            return self._retrying(self._send_once, method, headers)
        except _TryAgain as failure:
            raise failure.error from failure.__cause__

    def _send_once(self, method: str, headers: dict[str, str]) -> httpx.Response:
        try:
            answer = self._client.request(method, self._url, headers=headers)
        except httpx.InvalidURL as error:
            raise CloudError("the address of the disk is no URL") from error
        except httpx.HTTPError as error:
            # The name of the error, never its text: that may hold the URL with its SAS.
            reason = CloudError(f"the disk can not be reached: {type(error).__name__}", hint="is the storage account reachable from here?")
            raise _TryAgain(reason) from None
        if answer.is_success:
            return answer
        status = answer.status_code
        code = answer.headers.get("x-ms-error-code", "")
        refusal = CloudError(
            f"the storage refused to read the disk: {code or f'HTTP {status}'}",
            code=code,
            status=status,
            request_id=answer.headers.get("x-ms-request-id", ""),
            hint=_HINTS.get(status, ""),
        )
        raise _TryAgain(refusal) if status in _RETRIED else refusal


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
    def open_url(cls, url: str, *, block_bytes: int = 64 * 1024, first_wait_s: float = 0.5) -> Self:
        """The disk behind a URL, for a blob with its SAS; first_wait_s is the pause before a second try."""
        server = RangeServer(url, first_wait_s=first_wait_s)
        reader = cls(server.fetch, server.size, block_bytes=block_bytes)
        reader._server = server
        return reader

    _server: RangeServer | None = None

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
            if self._server is not None:
                self._server.close()
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
