"""How the CLI ends when something is wrong: a clear text on standard error and the exit code of the error's class."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import httpx
import typer
from rich.console import Console
from rich.text import Text

from images.errors import BuildError, CancelledError, ConfigurationError

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Interrupts:
    """What the user or the system asked for by a signal; the first one is confirmed at once, since clean-up takes its time."""

    def __init__(self) -> None:
        self.came = False

    def __call__(self, _signum: int, _frame: FrameType | None) -> None:
        if not self.came:
            self.came = True
            # Not through the console: the signal may have come while that was writing.
            os.write(2, b"stopping ...\n")
        raise KeyboardInterrupt


@contextmanager
def reported(console: Console, *, as_json: bool = False) -> Iterator[None]:
    """Turn a BuildError or an interrupt inside the block into its text and exit code.

    SIGTERM and a closed terminal (SIGHUP) end a command as Ctrl-C does.
    """
    interrupts = _Interrupts()
    before = {number: signal.signal(number, interrupts) for number in _SIGNALS}
    try:
        yield
    except (KeyboardInterrupt, Exception) as error:
        shown = _reason(error, interrupted=interrupts.came)
        if shown is None:
            raise
        _show(console, shown, as_json=as_json)
        raise typer.Exit(shown.exit_code) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _reason(error: BaseException, *, interrupted: bool) -> BuildError | None:
    """The error to show; None for one that is a fault of the program, whose traceback is wanted."""
    # An interrupt may strike anywhere, and libraries then fail in their own ways: whatever they raise, the user stopped the command.
    if interrupted or _signalled(error):
        return CancelledError(
            "stopped before the end", hint="run the same command again; what a build may have left in the cloud goes at its expiry"
        )
    if isinstance(error, httpx.TransportError):
        # Only Prefect's client raises it this far: every other exchange has errors of its own.
        return ConfigurationError(
            f"the Prefect server does not answer any more: {type(error).__name__}",
            hint="is it still running, and the machine not out of memory? Run the same command again: it goes on from the last checkpoint",
        )
    return error if isinstance(error, BuildError) else None


def _signalled(error: BaseException) -> bool:
    """Whether a signal is behind the error: inside a flow Prefect has a handler of its own for SIGTERM, and ours does not hear of it."""
    if "prefect" not in sys.modules:
        return isinstance(error, KeyboardInterrupt)
    from tasks.step_task import signal_behind

    return signal_behind(error) is not None


def _show(console: Console, error: BuildError, *, as_json: bool) -> None:
    text = Text(f"{error.title}: ", style="bold red")
    text.append(str(error), style="not bold default")
    console.print(text, soft_wrap=True, highlight=False)
    if as_json:
        fields = {
            "error": type(error).__name__,
            "exit_code": error.exit_code,
            "what": error.what,
            "hint": error.hint,
            "where": error.where,
            "kept": error.kept,
        }
        sys.stdout.write(json.dumps(fields) + "\n")
