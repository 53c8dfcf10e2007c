"""Microsoft's calendar: true for every month, and the same whatever timezone a clock shows."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from images.updates.patch_week import (
    PACIFIC,
    PatchWeek,
    b_release,
    last_day,
    month_numbers,
    month_of,
    months_until,
    nth_tuesday,
    pacific_day,
    patch_tuesday,
    preview_week,
    week_of,
)

DAYS = st.dates(min_value=date(2016, 1, 1), max_value=date(2059, 12, 31))
MONTHS = DAYS.map(month_of)
MOMENTS = st.datetimes(min_value=datetime(2016, 1, 2), max_value=datetime(2059, 12, 30)).map(lambda moment: moment.replace(tzinfo=UTC))
ZONES = st.sampled_from(
    [ZoneInfo(name) for name in ("Pacific/Kiritimati", "Asia/Kolkata", "Europe/Berlin", "Pacific/Pago_Pago")]
) | st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@pytest.mark.parametrize(
    ("month", "day"),
    [("2025-10", 14), ("2025-12", 9), ("2026-01", 13), ("2026-08", 11), ("2026-09", 8), ("2027-06", 8), ("2028-02", 8)],
)
def test_b_releases_come_on_the_second_tuesday(month: str, day: int) -> None:
    assert b_release(month) == date.fromisoformat(f"{month}-{day:02d}")


@given(MONTHS)
def test_the_second_tuesday_of_every_month_is_a_tuesday_between_the_8th_and_the_14th(month: str) -> None:
    day = b_release(month)
    assert (day.weekday(), month_of(day)) == (1, month)
    assert 8 <= day.day <= 14
    assert week_of(day) is PatchWeek.B
    assert week_of(day - timedelta(days=1)) is PatchWeek.A
    assert week_of(day + timedelta(days=6)) is PatchWeek.B


@given(MONTHS)
def test_previews_come_in_the_two_weeks_after_the_b_week(month: str) -> None:
    first, last = preview_week(month)
    assert first == b_release(month) + timedelta(days=7)
    assert last - first == timedelta(days=13)
    weeks = {week_of(first + timedelta(days=offset)) for offset in range(14)}
    assert weeks == {PatchWeek.C, PatchWeek.D}


@given(DAYS)
def test_a_week_runs_from_tuesday_to_monday(day: date) -> None:
    tuesday = day - timedelta(days=(day.weekday() - 1) % 7)
    assert week_of(day) is week_of(tuesday)
    ordinal = next(ordinal for ordinal in range(1, 6) if nth_tuesday(tuesday.year, tuesday.month, ordinal) == tuesday)
    assert week_of(day) is (PatchWeek.A, PatchWeek.B, PatchWeek.C, PatchWeek.D, PatchWeek.OTHER)[ordinal - 1]


@given(MOMENTS, ZONES)
def test_a_clock_in_another_timezone_says_the_same_day(moment: datetime, zone: timezone | ZoneInfo) -> None:
    assert pacific_day(moment.astimezone(zone)) == pacific_day(moment)
    assert pacific_day(moment) == moment.astimezone(PACIFIC).date()


def test_the_day_changes_at_midnight_in_redmond() -> None:
    # Half past four on Wednesday in Berlin is still patch Tuesday in Redmond; an hour and a half later it is not, in summer.
    assert pacific_day(datetime(2026, 8, 12, 4, 30, tzinfo=ZoneInfo("Europe/Berlin"))) == b_release("2026-08")
    assert pacific_day(datetime(2026, 8, 12, 7, 0, tzinfo=UTC)) == date(2026, 8, 12)
    assert pacific_day(datetime(2026, 12, 9, 7, 59, tzinfo=UTC)) == date(2026, 12, 8)


def test_a_moment_without_a_timezone_is_refused() -> None:
    with pytest.raises(ValueError, match="without a timezone"):
        pacific_day(datetime(2026, 8, 11, 12))


@given(MONTHS)
def test_the_last_day_of_a_month_is_followed_by_the_first_of_the_next(month: str) -> None:
    following = last_day(month) + timedelta(days=1)
    assert (month_of(last_day(month)), following.day) == (month, 1)
    assert patch_tuesday(following.year, following.month) > last_day(month)


@given(MONTHS, st.integers(1, 40))
def test_months_until_are_consecutive_and_end_with_the_last(month: str, count: int) -> None:
    months = months_until(month, count)
    assert (len(months), months[-1]) == (count, month)
    assert all(month_of(last_day(one) + timedelta(days=1)) == following for one, following in itertools.pairwise(months))


@pytest.mark.parametrize("text", ["2026-13", "2026-8", "2026-Aug", "26-08", "", "2026-08-01"])
def test_a_text_that_is_no_month_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a month"):
        month_numbers(text)
