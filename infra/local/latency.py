"""How long things take: minutes per operation as on Azure, times one scale; without a profile nothing waits.

A profile is a file (see tests/bench/latency/azure-minutes.yaml): each entry gives an operation's minutes and where they come from. The
operations are those of ARM (vm.create, snapshot.create …), of the storage front (blob.*), of the artifact origin (origin.fetch) and of
the guests (guest.*). A guest's stage takes guest.<name of the stage>, or guest.stage when that has no entry; what it does item by item
takes its own time for each item, in as many lanes as the script has.

An entry `operation pattern` (fnmatch, any case) holds for the items that match; the entry without a pattern for all others.
"""

from __future__ import annotations

import fnmatch
import threading
import time
from pathlib import Path

import yaml
from pydantic import Field, ValidationError

from images.errors import ConfigurationError
from images.frozen import Frozen


class OperationMinutes(Frozen):
    """How long one operation takes, and how that is known."""

    minutes: float = Field(ge=0)
    source: str = Field(min_length=1, description="URL of a build log, document or measurement, or: assumption.")
    why: str = Field(default="", description="How the minutes follow from the source, or why the assumption is reasonable.")


class LatencyFile(Frozen):
    """What a profile's file holds."""

    scale: float = Field(ge=0, description="0: no waiting; 1: minutes as on Azure; 0.01: a minute becomes 0.6 s.")
    operations: dict[str, OperationMinutes]


class LatencyProfile(Frozen):
    """Minutes per operation and one factor for all of them; an operation without an entry takes no time."""

    scale: float = Field(default=0.0, ge=0)
    minutes: dict[str, float] = Field(default_factory=dict)

    def minutes_of(self, operation: str, item: str = "") -> float:
        """Minutes on Azure of an operation on an item; 0 for one without an entry."""
        start = f"{operation} "
        for name, minutes in self.minutes.items():
            if name.startswith(start) and fnmatch.fnmatchcase(item.lower(), name.removeprefix(start).lower()):
                return minutes
        return self.minutes.get(operation, 0.0)

    def seconds(self, operation: str, item: str = "") -> float:
        """How long an operation is to take here, in seconds."""
        return self.minutes_of(operation, item) * 60 * self.scale

    def knows(self, operation: str) -> bool:
        """True when the operation has an entry."""
        return operation in self.minutes

    def wait(self, operation: str, stopping: threading.Event | None = None, *, since: float | None = None) -> None:
        """Take that long, of which what has passed `since` (monotonic clock) is part; returns early when `stopping` is set."""
        seconds = self.seconds(operation) - (time.monotonic() - since if since is not None else 0.0)
        if seconds > 0:
            (stopping or threading.Event()).wait(seconds)


def load_latency(path: Path) -> LatencyProfile:
    """The profile in a YAML or JSON file; raises ConfigurationError when it is missing or wrong."""
    try:
        file = LatencyFile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError) as error:
        raise ConfigurationError(
            f"the latency profile can not be used: {error}", where=str(path), hint="see tests/bench/latency/azure-minutes.yaml"
        ) from error
    return LatencyProfile(scale=file.scale, minutes={name: entry.minutes for name, entry in file.operations.items()})
