"""A process inside a guest: a thread with standard streams, an exit code, and a way to kill it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Literal

StreamName = Literal["stdout", "stderr"]

CHUNK_BYTES = 32768
"""Most that one chunk of output holds, as WinRM splits what it read from the pipe."""
KILLED = 1
CONTROL_C_EXIT = 0xC000013A
"""STATUS_CONTROL_C_EXIT, what Windows gives a console program that Ctrl-C ended."""


class GuestProcess:
    """Runs `main(process)` in its own thread; output waits here until somebody takes it."""

    def __init__(self, main: Callable[[GuestProcess], int], name: str) -> None:
        self.stop_event = threading.Event()
        """Set by kill; main is expected to return soon."""
        self._main = main
        self._changed = threading.Condition()
        self._stdin = bytearray()
        self._stdin_ended = False
        self._output: deque[tuple[StreamName, bytearray]] = deque()
        self._exit_code: int | None = None
        self._listeners: list[Callable[[], None]] = []
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> GuestProcess:
        """Start it; returns itself."""
        self._thread.start()
        return self

    def _run(self) -> None:
        exit_code = self._main(self)
        self._finish(exit_code)

    def _finish(self, exit_code: int) -> None:
        with self._changed:
            if self._exit_code is None:
                self._exit_code = exit_code
        self._notify()

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()
            listeners = list(self._listeners)
        for listener in listeners:
            listener()

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call listener after each change, from any thread; returns the function that ends the subscription."""
        with self._changed:
            self._listeners.append(listener)

        def unsubscribe() -> None:
            with self._changed:
                if listener in self._listeners:
                    self._listeners.remove(listener)

        return unsubscribe

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._exit_code

    def write(self, stream: StreamName, data: bytes) -> None:
        """Append output; what a killed process writes is lost."""
        if not data:
            return
        with self._changed:
            if self._exit_code is not None:
                return
            # Short lines gather in one chunk: each chunk costs an element in the answer that carries it.
            if self._output and self._output[-1][0] == stream and len(self._output[-1][1]) + len(data) <= CHUNK_BYTES:
                self._output[-1][1].extend(data)
            else:
                self._output.append((stream, bytearray(data)))
        self._notify()

    def write_line(self, line: str) -> None:
        """One line of standard output, UTF-8, ended as WinVhd.psm1 ends its lines."""
        self.write("stdout", f"{line}\n".encode())

    def write_error(self, text: str) -> None:
        """Text for standard error, UTF-8."""
        self.write("stderr", text.encode())

    def feed(self, data: bytes, *, end: bool) -> bool:
        """Append standard input; False when it was ended before."""
        with self._changed:
            if self._stdin_ended:
                return False
            self._stdin += data
            self._stdin_ended = end
            self._changed.notify_all()
        return True

    def read_stdin(self) -> bytes | None:
        """All of standard input once it has ended; None when the process was killed before."""
        with self._changed:
            self._changed.wait_for(lambda: self._stdin_ended or self.stop_event.is_set())
            return None if self.stop_event.is_set() else bytes(self._stdin)

    def read_some(self) -> bytes | None:
        """What of standard input has come since, at least one byte; empty at its end, None when the process was killed."""
        with self._changed:
            self._changed.wait_for(lambda: self._stdin or self._stdin_ended or self.stop_event.is_set())
            if self.stop_event.is_set():
                # What is still in the pipe of a process that ends is lost.
                return None
            data = bytes(self._stdin)
            self._stdin.clear()
            return data

    def take(self, limit_bytes: int, chunk_cost_bytes: int = 0) -> tuple[list[tuple[StreamName, bytes]], int | None]:
        """Up to limit_bytes of output, and the exit code when the process has ended and no output is left.

        Each chunk of at most CHUNK_BYTES counts chunk_cost_bytes in addition.
        """
        taken: list[tuple[StreamName, bytes]] = []
        with self._changed:
            while self._output and limit_bytes > chunk_cost_bytes:
                stream, data = self._output.popleft()
                size = min(CHUNK_BYTES, limit_bytes - chunk_cost_bytes)
                if len(data) > size:
                    self._output.appendleft((stream, data[size:]))
                    data = data[:size]
                limit_bytes -= len(data) + chunk_cost_bytes
                taken.append((stream, bytes(data)))
            return taken, None if self._output else self._exit_code

    def give_back(self, chunks: Sequence[tuple[StreamName, bytes]]) -> None:
        """Put output back that did not reach the reader, so that asking again brings the same."""
        with self._changed:
            self._output.extendleft((stream, bytearray(data)) for stream, data in reversed(chunks))

    def kill(self, exit_code: int = KILLED) -> None:
        """End it: its exit code counts from now on, whatever its thread still does."""
        self.stop_event.set()
        self._finish(exit_code)

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread; False when it still runs."""
        if self._thread.ident is None or self._thread is threading.current_thread():
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()
