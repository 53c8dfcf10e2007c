"""A line with a round-trip time: a TCP relay on 127.0.0.1 that hands every piece on after half of it. Its bandwidth is not limited."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from types import TracebackType
from typing import Self

READ_BYTES = 256 * 1024


class DelayedLine:
    """Context manager; `port` leads to the target's port on this machine."""

    def __init__(self, target_port: int, rtt_s: float) -> None:
        self.port = 0
        self._target_port = target_port
        self._delay_s = rtt_s / 2
        self._writers: list[asyncio.StreamWriter] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._relay, "127.0.0.1", 0), self._loop).result(10)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        # A relay whose transports are cut ends by itself; cancelling it would make asyncio's server complain.
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*(task for task in asyncio.all_tasks() if task is not asyncio.current_task()), return_exceptions=True)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        self._writers += (writer, far_writer)
        with contextlib.suppress(OSError):
            await asyncio.gather(self._hand_on(reader, far_writer), self._hand_on(far_reader, writer))

    async def _hand_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        while data := await reader.read(READ_BYTES):
            # Equal delays keep the order.
            loop.call_later(self._delay_s, writer.write, data)
        loop.call_later(self._delay_s, writer.close)
