r"""Runs of elevated stages: they belong to the machine's boot, not to a WinRM shell, and leave their output as files in C:\winvhd\runs."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from images.stages.link import RUNS_FOLDER, ReadOutputInput, ReadOutputResult
from infra.local.guest.process import GuestProcess, StreamName
from infra.local.machine.disk import MachineDisk

STDERR_TAIL_CHARACTERS = 4096
TIMED_OUT_EXIT = 124
END_WAIT_S = 5.0
"""Remove-StageTask.ps1 waits that long for a task that has left its exit code but runs on for a moment."""
KINDS = ("out", "err", "exit", "read", "wait", "pid", "claim")
"""Suffixes of a run's files. claim: it was started; pid: the process to end; wait: it waits for somebody to read its result; read: somebody
did."""

_PROCESS_IDS = itertools.count(1000)
Main = Callable[[GuestProcess], int]


class _TaskProcess(GuestProcess):
    """A process whose output goes to files, each write flushed: the link reads them while it runs."""

    def __init__(self, main: Main, name: str, out: BinaryIO, err: BinaryIO, ended: Callable[[int], None]) -> None:
        super().__init__(main, name)
        self.number = 4 * next(_PROCESS_IDS)
        """Windows' process ids are multiples of four."""
        self._files: dict[StreamName, BinaryIO] = {"stdout": out, "stderr": err}
        self._ended = ended
        self._closing = threading.Lock()

    def write(self, stream: StreamName, data: bytes) -> None:
        """Append to the run's file; what a killed process writes is lost."""
        with self._closing:
            if self.exit_code is not None or self._files[stream].closed:
                return
            self._files[stream].write(data)
            self._files[stream].flush()
        self._notify()

    def time_out(self, timeout_s: float) -> None:
        """End it as Invoke-StageTask.ps1 ends a script whose time is up: an error line and exit code 124."""
        line = {"event": "error", "code": "timeout", "message": f"the script did not end within {timeout_s:g} s"}
        self.write("stdout", f"\n{json.dumps(line)}\n".encode())
        self.kill(TIMED_OUT_EXIT)

    def cut(self) -> None:
        """Power is gone: stop without a trace of how it ended, as a reboot leaves it."""
        with self._closing:
            self._ended = _no_trace
        self.kill()

    def _finish(self, exit_code: int) -> None:
        with self._closing:
            if self.exit_code is None:
                for file in self._files.values():
                    file.close()
                # The file that says how it ended is there before anybody hears that it has ended.
                self._ended(exit_code)
        super()._finish(exit_code)


def _no_trace(_exit_code: int) -> None:
    """A run that a reboot ended leaves no exit code."""


class TaskRuns:
    """The runs of one boot, and the files of all runs."""

    def __init__(self, disk: MachineDisk) -> None:
        self._disk = disk
        self._running: dict[str, _TaskProcess] = {}
        self._lock = threading.Lock()

    def _file(self, run_id: str, suffix: str) -> Path:
        return self._disk.path(rf"{RUNS_FOLDER}\{run_id}.{suffix}")

    def start(self, run_id: str, main: Main, stdin: bytes, timeout_s: float) -> bool:
        """Start a run; False when this run_id was started before, in this boot or in an earlier one."""
        with self._lock:
            if self._file(run_id, "claim").exists():
                return False
            self._disk.write(rf"{RUNS_FOLDER}\{run_id}.claim", b"")
            out = self._file(run_id, "out")
            process = _TaskProcess(
                main,
                f"task {run_id}",
                out.open("wb"),
                self._file(run_id, "err").open("wb"),
                lambda exit_code: self.write_exit(run_id, exit_code),
            )
            self._running[run_id] = process
            self._disk.write(rf"{RUNS_FOLDER}\{run_id}.pid", str(process.number).encode("ascii"))
        process.feed(stdin, end=True)
        process.start()
        timer = threading.Timer(timeout_s, process.time_out, (timeout_s,))
        timer.name, timer.daemon = f"task {run_id} time limit", True
        timer.start()
        process.subscribe(lambda: timer.cancel() if process.exit_code is not None else None)
        if process.exit_code is not None:
            timer.cancel()
        return True

    def write_exit(self, run_id: str, exit_code: int) -> None:
        """Leave how a run ended, unless it did so itself or the folder is gone: the last contact removes it under its own run."""
        if self._disk.path(RUNS_FOLDER).is_dir() and not self._file(run_id, "exit").exists():
            self._disk.write(rf"{RUNS_FOLDER}\{run_id}.exit", str(exit_code).encode("ascii"))

    def wait_for_reader(self, run_id: str) -> None:
        """What the last contact leaves with its result: that it waits for somebody to read it, and that all went well."""
        self._disk.write(rf"{RUNS_FOLDER}\{run_id}.wait", b"wait")
        self.write_exit(run_id, 0)

    def read(self, wanted: ReadOutputInput, stop_event: threading.Event) -> ReadOutputResult:
        """Output from an offset on; waits up to wait_s for something new or for the end."""
        process = self._running.get(wanted.run_id)
        wake = threading.Event()
        unsubscribe = process.subscribe(wake.set) if process else (lambda: None)
        try:
            deadline = time.monotonic() + wanted.wait_s
            while True:
                wake.clear()
                answer = self._look(wanted)
                left = deadline - time.monotonic()
                if answer.data or answer.state != "running" or left <= 0 or stop_event.is_set():
                    return answer
                wake.wait(min(left, 0.5))
        finally:
            unsubscribe()

    def _look(self, wanted: ReadOutputInput) -> ReadOutputResult:
        process = self._running.get(wanted.run_id)
        running = process is not None and process.exit_code is None
        # The end before the data: what was written before the end is then surely seen. The last contact says how it ended while it
        # still waits for somebody to read that.
        exit_code = self._exit_code(wanted.run_id)
        data = b""
        with contextlib.suppress(FileNotFoundError), self._file(wanted.run_id, "out").open("rb") as file:
            file.seek(wanted.offset)
            data = file.read(wanted.max_bytes)
        return ReadOutputResult(
            changed=False,
            data=base64.b64encode(data).decode("ascii"),
            next_offset=wanted.offset + len(data),
            state="ended" if exit_code is not None else "running" if running else "unknown",
            exit_code=exit_code,
            stderr_tail=self._stderr_tail(wanted.run_id) if exit_code is not None or wanted.with_errors else "",
        )

    def _exit_code(self, run_id: str) -> int | None:
        file = self._file(run_id, "exit")
        return int(file.read_text("ascii")) if file.is_file() else None

    def _stderr_tail(self, run_id: str) -> str:
        file = self._file(run_id, "err")
        return file.read_text("utf-8", errors="replace")[-STDERR_TAIL_CHARACTERS:] if file.is_file() else ""

    def remove(self, run_id: str, *, stop: bool = False) -> tuple[bool, bool]:
        """(something changed, the run goes on): a run that goes on is told that its result was read, or ended; others are forgotten."""
        with self._lock:
            process = self._running.get(run_id)
        if process is not None and stop:
            process.kill()
        if process is not None and not self._file(run_id, "wait").exists():
            process.join(END_WAIT_S)
        if process is not None and process.exit_code is None:
            self._disk.write(rf"{RUNS_FOLDER}\{run_id}.read", b"read")
            return True, True
        with self._lock:
            self._running.pop(run_id, None)
            files = [file for kind in KINDS if (file := self._file(run_id, kind)).exists()]
            for file in files:
                file.unlink()
        return bool(files), False

    def running(self) -> frozenset[str]:
        """Run ids of the tasks that go on."""
        with self._lock:
            return frozenset(run_id for run_id, process in self._running.items() if process.exit_code is None)

    def stop(self, timeout_s: float) -> None:
        """Power goes: every run ends without leaving how it ended."""
        with self._lock:
            running = list(self._running.values())
        for process in running:
            process.cut()
        for process in running:
            process.join(timeout_s)
