"""A point in time after which somebody stops waiting."""

from __future__ import annotations

import time


class Deadline:
    """`seconds` from now on the monotonic clock, which no clock correction moves."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._start = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Seconds since it was set."""
        return time.monotonic() - self._start

    @property
    def left_s(self) -> float:
        """Seconds until it is reached, never negative."""
        return max(0.0, self.seconds - self.elapsed_s)

    @property
    def over(self) -> bool:
        """True when it is reached."""
        return self.left_s <= 0
