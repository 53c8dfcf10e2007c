"""What a build looks like while it runs: a live display on a terminal, plain lines elsewhere. Everything goes to standard error."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from tasks.progress import StepEvent

_MARKS = {"built": "[green]✓[/]", "reused": "[cyan]=[/]", "failed": "[red]✗[/]"}


class PlainDisplay:
    """One line as a step ends; no colours, nothing that moves."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        return None

    def __call__(self, event: StepEvent) -> None:
        if event.kind == "end":
            line = Text(f"{event.outcome:<6} {event.seconds:6.1f} s  {_name(event)}")
            self._console.print(line, soft_wrap=True)


class LiveDisplay:
    """The steps that are running, each with a bar when it knows how far it is; a line above as a step ends."""

    def __init__(self, console: Console) -> None:
        self._lock = threading.Lock()
        self._running: dict[str, TaskID] = {}
        self._progress = Progress(
            SpinnerColumn(),
            # What a step says about itself is text, not markup: a stray bracket must not end the display.
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[message]}", style="dim", markup=False),
            console=console,
            transient=True,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._progress.stop()

    def __call__(self, event: StepEvent) -> None:
        name = _name(event)
        with self._lock:
            if event.kind == "start":
                self._running[name] = self._progress.add_task(name, total=None, message="")
            elif event.kind == "progress" and name in self._running:
                self._progress.update(self._running[name], completed=event.done or 0, total=event.total, message=event.message[:60])
            elif event.kind == "end" and name in self._running:
                self._progress.remove_task(self._running.pop(name))
                line = Text.from_markup(_MARKS[event.outcome]).append(f" {event.seconds:6.1f} s  {name}")
                self._progress.console.print(line)


def _name(event: StepEvent) -> str:
    return f"{event.image}: {event.step}" if event.image else event.step


def make_display(console: Console) -> PlainDisplay | LiveDisplay:
    """The display that suits the console."""
    return LiveDisplay(console) if console.is_terminal else PlainDisplay(console)
