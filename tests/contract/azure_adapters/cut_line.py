"""A line to a server of this machine that can be cut and mended."""

from __future__ import annotations

import asyncio

from tests.bench.delayed_line import DelayedLine


class CutLine(DelayedLine):
    """Context manager; while it is cut, connections through `port` break, and new ones are closed at once."""

    def __init__(self, target_port: int) -> None:
        super().__init__(target_port, rtt_s=0)
        self._is_cut = False

    def cut(self) -> None:
        """Break every connection."""
        self._is_cut = True
        self._loop.call_soon_threadsafe(self._abort)

    def mend(self) -> None:
        """Let new connections through."""
        self._is_cut = False

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        await super()._relay(reader, writer)

    def _abort(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
