"""The day that the stand-in pretends it is: what Microsoft released later is not there yet."""

from __future__ import annotations

import threading
from datetime import date


class PretendedDate:
    """A day in Redmond, or none: then everything that the stand-in knows has been released. Safe to use from several threads."""

    def __init__(self, day: date | None = None) -> None:
        self._lock = threading.Lock()
        self._day = day

    @property
    def day(self) -> date | None:
        """The day, None when it does not pretend."""
        with self._lock:
            return self._day

    def pretend(self, day: date | None) -> None:
        """Be on another day from now on; earlier ones are allowed."""
        with self._lock:
            self._day = day

    def has_come(self, day: date) -> bool:
        """True when the day is not in the future."""
        today = self.day
        return today is None or day <= today
