"""What past builds tell of the next one: how many minutes its layers will take."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from statistics import median

from images.timings import StepTiming

Histories = Sequence[Sequence[StepTiming]]
"""The steps of several past builds, one sequence a build."""


def expected_minutes(histories: Histories, layer: str) -> float | None:
    """The median minutes that builds took to make a layer; None when no build has made it.

    A build that reused the layer, or failed in it, does not count.
    """
    return _median_minutes(histories, lambda timings: _whole([timing for timing in timings if timing.layer == layer]))


def expected_step_minutes(histories: Histories, name: str) -> float | None:
    """The median minutes of a step around the layers, such as the boot test; None when no build has done it."""
    return _median_minutes(histories, lambda timings: _whole([timing for timing in timings if not timing.layer and timing.name == name]))


def expected_total(histories: Histories, layers: Iterable[str]) -> float | None:
    """The minutes of a build that makes these layers and reuses the others; None when one of them was never made.

    Besides the layers it takes the time in which only steps around them ran: a download beside a layer costs no minute of its own.
    """
    minutes = [expected_minutes(histories, layer) for layer in layers]
    if not minutes:
        return 0.0
    minutes.append(_median_minutes(histories, _around))
    known = [value for value in minutes if value is not None]
    return round(sum(known), 2) if len(known) == len(minutes) else None


def _median_minutes(histories: Histories, seconds_of: Callable[[Sequence[StepTiming]], float | None]) -> float | None:
    seconds = [found for found in map(seconds_of, histories) if found is not None]
    return round(median(seconds) / 60, 2) if seconds else None


def _whole(timings: Sequence[StepTiming]) -> float | None:
    """Seconds of steps that were all built; None when there are none, or one was reused or failed."""
    if not timings or any(timing.outcome != "built" for timing in timings):
        return None
    return sum(timing.seconds for timing in timings)


def _around(timings: Sequence[StepTiming]) -> float | None:
    """Seconds of a build in which steps ran, but none of a layer; None for a build that failed."""
    if not timings or any(timing.outcome == "failed" for timing in timings):
        return None
    built = [timing for timing in timings if timing.outcome == "built"]
    return _covered(built) - _covered([timing for timing in built if timing.layer])


def _covered(timings: Iterable[StepTiming]) -> float:
    """Seconds in which at least one of the steps ran."""
    seconds, reached = 0.0, None
    for start, end in sorted(map(_span, timings)):
        begin = start if reached is None else max(start, reached)
        if end > begin:
            seconds += (end - begin).total_seconds()
            reached = end
    return seconds


def _span(timing: StepTiming) -> tuple[datetime, datetime]:
    start = datetime.fromisoformat(timing.start)
    return start, start + timedelta(seconds=timing.seconds)
