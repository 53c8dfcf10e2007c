"""Background processes that a command starts: each is ended by its pid, and none outlives a command that was killed."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from images.errors import EXIT_CODES, BuildError, ConfigurationError, MissingToolError

_PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    # prctl(2): the kernel sends SIGTERM when the parent ends, however it ends. Linux only; elsewhere the stop in `finally` has to do.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@dataclass
class BackgroundProcess:
    """A started process and where it logs."""

    name: str
    pid: int
    log: Path
    _child: subprocess.Popen[bytes] | None = None

    def alive(self) -> bool:
        """True while the process runs."""
        if self._child is not None:
            return self._child.poll() is None
        return process_alive(self.pid)

    @property
    def exit_code(self) -> int | None:
        """Exit code of a process of ours that has ended; None while it runs, and where nobody can know."""
        return self._child.poll() if self._child is not None else None

    def stop(self, timeout_s: float = 20.0) -> None:
        """End it: SIGTERM, then SIGKILL after timeout_s."""
        for sent, patience in ((signal.SIGTERM, timeout_s), (signal.SIGKILL, 5.0)):
            if not self.alive():
                return
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, sent)
            deadline = time.monotonic() + patience
            while self.alive() and time.monotonic() < deadline:
                time.sleep(0.02)


def process_alive(pid: int) -> bool:
    """True when the pid is a process that is not a zombie."""
    # To kill(2), zero and below are whole groups of processes.
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return not Path("/proc").is_dir()


def start_process(
    name: str, command: Sequence[str], *, log: Path, environment: Mapping[str, str], with_parent: bool, cwd: Path | None = None
) -> BackgroundProcess:
    """Start a process in a session of its own, its output in `log`; with_parent ends it when this process ends, also when killed."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        child = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            cwd=cwd,
            start_new_session=True,
            preexec_fn=_die_with_parent if with_parent and sys.platform == "linux" else None,  # noqa: PLW1509
        )
    return BackgroundProcess(name, child.pid, log, child)


def wait_until_ready(process: BackgroundProcess, ready: Callable[[], bool], *, timeout_s: float) -> None:
    """Return once `ready` says so. When the process ends or time is up: ConfigurationError with the end of the log.

    A process of this project that ends because of its surroundings says why itself: then it is the error that it names.
    """
    deadline = time.monotonic() + timeout_s
    while not ready():
        ended = not process.alive()
        if ended or time.monotonic() > deadline:
            lines = process.log.read_text(errors="replace").splitlines()
            tail = "\n".join(lines[-8:])
            process.stop()
            said = _last_error(lines, process.exit_code) if ended else None
            if said is not None:
                raise said
            reason = "ended at once" if ended else f"was not ready after {timeout_s:.0f} s"
            raise ConfigurationError(f"{process.name} {reason}\n{tail}".rstrip(), hint=f"the whole log is {process.log}")
        time.sleep(0.05)


def _last_error(lines: Sequence[str], exit_code: int | None) -> BuildError | None:
    """The error that the last lines of a log show, when its class belongs to the exit code."""
    if exit_code not in {MissingToolError.exit_code, ConfigurationError.exit_code}:
        return None
    kind = EXIT_CODES[exit_code]
    for number in range(len(lines) - 1, -1, -1):
        what = lines[number].removeprefix(f"{kind.title}: ")
        if what != lines[number]:
            hints = [line.partition("hint: ")[2] for line in lines[number + 1 :] if line.startswith("    hint: ")]
            return kind(what, hint=hints[0] if hints else "")
    return None
