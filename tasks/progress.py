"""Progress of a build: one event as a step starts, some while it works, one as it ends.

Every event goes to the flow run's log; a terminal may listen as well. Texts never hold secrets.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger

from images.timings import StepTiming
from infra.redaction import Redactor

Outcome = Literal["built", "reused", "failed"]


@dataclass(frozen=True)
class StepEvent:
    """What happened to one step; done and total count bytes or items when a step knows how far it is."""

    kind: Literal["start", "progress", "end"]
    step: str
    message: str = ""
    done: int | None = None
    total: int | None = None
    seconds: float = 0.0
    outcome: Outcome = "built"
    image: str = ""
    """Whose step it is, where several images are built at the same time."""


Listener = Callable[[StepEvent], None]
_listeners: list[Listener] = []


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Call the listener for every event in this process while the block runs."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


hidden_log: ContextVar[logging.Logger | None] = ContextVar("hidden_log", default=None)
"""The log of private work, while that is what this thread does; nothing of it goes to Prefect then."""


class _RedactingFormatter(logging.Formatter):
    """Takes secrets out of whole records, tracebacks included."""

    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")
        self._redact = Redactor(secrets)

    def format(self, record: logging.LogRecord) -> str:
        return self._redact(super().format(record))


@contextmanager
def hidden_from_prefect(path: Path, secrets: Iterable[str] = ()) -> Iterator[None]:
    """Let the steps in the block log to this file, without these secrets, and be no task runs of Prefect."""
    logger = logging.Logger(f"winvhd.{path}")
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(_RedactingFormatter(secrets))
    logger.addHandler(handler)
    token = hidden_log.set(logger)
    try:
        yield
    finally:
        hidden_log.reset(token)
        handler.close()


def run_logger() -> logging.Logger | logging.LoggerAdapter[logging.Logger]:
    """The log of the current Prefect run, or of private work; outside both, the project's own."""
    hidden = hidden_log.get()
    if hidden is not None:
        return hidden
    try:
        return get_run_logger()
    except MissingContextError:
        return logging.getLogger("winvhd")


def _emit(event: StepEvent) -> None:
    for listener in list(_listeners):
        listener(event)


@dataclass
class Step:
    """A step that is running."""

    name: str
    image: str = ""
    outcome: Outcome = "built"
    _logger: logging.Logger | logging.LoggerAdapter[logging.Logger] = field(default_factory=run_logger)

    def progress(self, message: str, done: int | None = None, total: int | None = None) -> None:
        """Say how far the step is."""
        count = f" [{done}/{total}]" if done is not None and total else ""
        self._logger.info("%s: %s%s", self.name, message, count)
        _emit(StepEvent("progress", self.name, message, done, total, image=self.image))

    def warn(self, message: str) -> None:
        """Say what went wrong without stopping the build."""
        self._logger.warning("%s: %s", self.name, message)
        _emit(StepEvent("progress", self.name, message, image=self.image))


class Timings:
    """Seconds of every step of a build, in the order in which they ended; safe to use from several threads."""

    def __init__(self, image: str = "") -> None:
        """`image` is named in every event, for who follows several builds at once."""
        self._image = image
        self._lock = threading.Lock()
        self._steps: list[StepTiming] = []
        self._listeners: list[Callable[[StepTiming], None]] = []

    def add(self, timing: StepTiming) -> None:
        """Keep one step's timing."""
        with self._lock:
            self._steps.append(timing)
        for listener in list(self._listeners):
            listener(timing)

    @contextmanager
    def listening(self, listener: Callable[[StepTiming], None]) -> Iterator[None]:
        """Call the listener as each step of this build ends, in that step's thread, while the block runs."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    @property
    def steps(self) -> tuple[StepTiming, ...]:
        """All timings so far, by start."""
        with self._lock:
            return tuple(sorted(self._steps, key=lambda timing: timing.start))

    @contextmanager
    def step(self, name: str, *, layer: str = "") -> Iterator[Step]:
        """Report start and end of a step and keep its seconds, also when it fails."""
        step = Step(name, self._image)
        start, clock = datetime.now(UTC), time.monotonic()
        _emit(StepEvent("start", name, image=self._image))
        step._logger.info("%s …", name)
        try:
            yield step
        except BaseException:
            step.outcome = "failed"
            raise
        finally:
            seconds = time.monotonic() - clock
            self.add(
                StepTiming(
                    name=name, layer=layer, start=start.isoformat(timespec="milliseconds"), seconds=round(seconds, 3), outcome=step.outcome
                )
            )
            step._logger.info("%s: %s in %.1f s", name, step.outcome, seconds)
            _emit(StepEvent("end", name, seconds=seconds, outcome=step.outcome, image=self._image))
