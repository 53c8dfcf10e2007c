"""The line to blob storage: Azurite answers at once, so what a real disk's bytes take on their way is waited for here.

Only VHDs are held back. Reads of one blob share its throughput, whoever reads and however many at a time: each waits for its turn, and
together they take `blob.read` for all of the blob's data (page blobs have a target throughput each:
https://learn.microsoft.com/azure/storage/blobs/scalability-targets). A Copy Blob takes `blob.copy`. Azurite's own time
is part of it, and what the stand-in needed to write a disk as a VHD before its first copy: on Azure its bytes are there. All other bytes
pass as they are, in both directions.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from infra.local.guest.network import NetworkThread
from infra.local.latency import LatencyProfile
from infra.local.loopback import open_listener

PIECE_BYTES = 256 * 1024
HEAD_BYTES = 64 * 1024


@dataclass(frozen=True)
class _Head:
    """The first lines of a request."""

    method: str
    path: str
    query: str
    headers: dict[str, str]

    @classmethod
    def parse(cls, data: bytes) -> _Head:
        first, *lines = data.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ", 2)
        parts = urlsplit(target)
        pairs = (line.partition(":") for line in lines if line)
        return cls(method, parts.path, parts.query, {name.strip().lower(): value.strip() for name, _, value in pairs})

    @property
    def wanted_bytes(self) -> int | None:
        """Length of the range asked for, None for the whole blob."""
        start, _, end = self.headers.get("x-ms-range", self.headers.get("range", "")).removeprefix("bytes=").partition("-")
        return int(end) - int(start) + 1 if start.isdigit() and end.isdigit() else None


@dataclass
class _Turns:
    """When the next read of a blob may begin."""

    data_bytes: int
    free_at: float = field(default_factory=time.monotonic)

    def take(self, size_bytes: int, seconds_for_all: float) -> float:
        """How long to wait for a read of so many bytes to have had its turn."""
        now = time.monotonic()
        self.free_at = max(self.free_at, now) + seconds_for_all * min(1.0, size_bytes / max(1, self.data_bytes))
        return self.free_at - now


@dataclass
class _Line:
    """One client's connection."""

    held_until: float = 0.0
    """When the answer to the request under way may arrive."""


class StorageFront:
    """Context manager; `endpoint` stands for Azurite's.

    Of a blob (/account/container/name) `data_bytes` tells how much of it holds data, `made_in` the seconds that making it took.
    """

    def __init__(self, target: str, latency: LatencyProfile, data_bytes: Callable[[str], int], made_in: Callable[[str], float]) -> None:
        self._target = urlsplit(target)
        self._latency = latency
        self._data_bytes = data_bytes
        self._made_in = made_in
        self._turns: dict[str, _Turns] = {}
        self._writers: set[asyncio.StreamWriter] = set()
        self._network = NetworkThread()
        self.endpoint = ""

    def __enter__(self) -> Self:
        listener = open_listener()
        self.endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self._server = self._network.call(asyncio.start_server(self._serve, sock=listener, limit=HEAD_BYTES))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._network.call(self._end())
        self._network.close()

    async def _end(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(self._target.hostname, self._target.port)
        self._writers |= {writer, far_writer}
        try:
            line = _Line()
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await asyncio.gather(self._requests(reader, far_writer, line), self._answers(far_reader, writer, line))
        finally:
            for end in (writer, far_writer):
                end.close()
                self._writers.discard(end)

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: _Line) -> None:
        while data := await reader.read(PIECE_BYTES):
            await asyncio.sleep(line.held_until - time.monotonic())
            writer.write(data)
            await writer.drain()
        writer.close()

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: _Line) -> None:
        try:
            while data := await reader.readuntil(b"\r\n\r\n"):
                head = _Head.parse(data)
                line.held_until = time.monotonic() + await self._seconds(head)
                writer.write(self._addressed(head, data))
                await self._body(head, reader, writer)
        except asyncio.IncompleteReadError:
            # The client has no more requests.
            writer.close()

    def _addressed(self, head: _Head, data: bytes) -> bytes:
        """The head as it must arrive: Azurite copies only from itself, and knows itself by the name that the request gives it."""
        source = urlsplit(head.headers.get("x-ms-copy-source", "")).netloc
        if source != self._target.netloc:
            return data
        return re.sub(rb"(?im)^host:[^\r]*", f"Host: {source}".encode(), data, count=1)

    async def _body(self, head: _Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if head.headers.get("transfer-encoding", "").lower() == "chunked":
            size = -1
            while size != 0:
                line = await reader.readline()
                size = int(line.split(b";")[0], 16)
                writer.write(line + await reader.readexactly(size + 2))
                await writer.drain()
            return
        left = int(head.headers.get("content-length", 0))
        while left > 0:
            data = await reader.read(min(PIECE_BYTES, left))
            if not data:
                raise asyncio.IncompleteReadError(b"", left)
            left -= len(data)
            writer.write(data)
            await writer.drain()

    async def _seconds(self, head: _Head) -> float:
        if not head.path.lower().endswith(".vhd") or "comp=" in head.query:
            return 0.0
        if head.method == "PUT":
            self._turns.pop(head.path, None)
            source = head.headers.get("x-ms-copy-source")
            return max(0.0, self._latency.seconds("blob.copy") - self._made_in(urlsplit(source).path)) if source else 0.0
        if head.method != "GET":
            return 0.0
        turns = self._turns.get(head.path)
        if turns is None:
            size = await asyncio.get_running_loop().run_in_executor(None, self._data_bytes, head.path)
            turns = self._turns.setdefault(head.path, _Turns(size))
        return turns.take(head.wanted_bytes or turns.data_bytes, self._latency.seconds("blob.read"))
