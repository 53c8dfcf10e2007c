"""How the CLI ends when something is wrong: a clear text on standard error and the exit code of the error's class."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import typer
from rich.console import Console
from rich.text import Text

from images.errors import BuildError, CancelledError


def _terminate(_signum: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def reported(console: Console, *, as_json: bool = False) -> Iterator[None]:
    """Turn a BuildError or an interrupt inside the block into its text and exit code; SIGTERM ends a command as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    except BuildError as error:
        _show(console, error, as_json=as_json)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        stopped = CancelledError(
            "stopped before the end; what the build had made in the cloud is deleted", hint="run the same command again"
        )
        _show(console, stopped, as_json=as_json)
        raise typer.Exit(stopped.exit_code) from None
    finally:
        signal.signal(signal.SIGTERM, before)


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
