"""Microsoft's update calendar: the second Tuesday, and the weeks that are called after it.

B releases come on the second Tuesday of a month, optional previews in the third (C) or fourth (D) week:
https://learn.microsoft.com/windows/deployment/update/release-cycle. Microsoft releases at 10:00 in Redmond, so a day is one of
America/Los_Angeles here, wherever the clock is that was read.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import StringConstraints

Month = Annotated[str, StringConstraints(pattern=r"^20\d\d-(0[1-9]|1[0-2])$")]
"""A month as text that sorts: 2026-08."""

PACIFIC = ZoneInfo("America/Los_Angeles")
_TUESDAY = 1
_MONTH = re.compile(r"(20\d\d)-(0[1-9]|1[0-2])")


class PatchWeek(StrEnum):
    """A week from Tuesday to Monday, by which Tuesday of its month it begins with."""

    A = "A"
    B = "B"
    C = "C"
    D = "D"
    OTHER = "other"
    """It begins with a fifth Tuesday."""


_BY_ORDINAL = {1: PatchWeek.A, 2: PatchWeek.B, 3: PatchWeek.C, 4: PatchWeek.D}


def pacific_day(moment: datetime) -> date:
    """The day in America/Los_Angeles at a moment; ValueError for one without a timezone, which could mean two days."""
    if moment.tzinfo is None or moment.utcoffset() is None:
        raise ValueError("a moment without a timezone: give one, for example datetime.now(UTC)")
    return moment.astimezone(PACIFIC).date()


def nth_tuesday(year: int, month: int, ordinal: int) -> date:
    """The first to fourth Tuesday of a month."""
    first = date(year, month, 1)
    return first + timedelta(days=(_TUESDAY - first.weekday()) % 7 + 7 * (ordinal - 1))


def patch_tuesday(year: int, month: int) -> date:
    """The second Tuesday of a month."""
    return nth_tuesday(year, month, 2)


def b_release(month: Month) -> date:
    """The day of a month's B release; ValueError when the text is no month."""
    return patch_tuesday(*month_numbers(month))


def preview_week(month: Month) -> tuple[date, date]:
    """First and last day on which a month's optional previews come: the C and the D week. ValueError when the text is no month."""
    year, number = month_numbers(month)
    return nth_tuesday(year, number, 3), nth_tuesday(year, number, 4) + timedelta(days=6)


def week_of(day: date) -> PatchWeek:
    """The week that a day lies in."""
    tuesday = day - timedelta(days=(day.weekday() - _TUESDAY) % 7)
    return _BY_ORDINAL.get((tuesday.day - 1) // 7 + 1, PatchWeek.OTHER)


def month_of(day: date) -> Month:
    """The month of a day, for example 2026-08."""
    return f"{day.year:04d}-{day.month:02d}"


def month_numbers(month: Month) -> tuple[int, int]:
    """(2026, 8) of 2026-08; ValueError when the text is no month."""
    found = _MONTH.fullmatch(month)
    if found is None:
        raise ValueError(f"not a month: {month!r}; write it as 2026-08")
    return int(found[1]), int(found[2])


def last_day(month: Month) -> date:
    """The last day of a month; ValueError when the text is no month."""
    year, number = month_numbers(month)
    return date(year + number // 12, number % 12 + 1, 1) - timedelta(days=1)


def months_until(last: Month, count: int) -> tuple[Month, ...]:
    """That many months up to and including the last one, old to new; ValueError when the text is no month."""
    year, number = month_numbers(last)
    total = year * 12 + number - 1
    return tuple(f"{each // 12:04d}-{each % 12 + 1:02d}" for each in range(total - count + 1, total + 1))
