"""A text says which month is built; what is none is refused by the form, by the API, and by the run with a hint."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime

import pytest
from pydantic import TypeAdapter

from flows.monthly_patch_build import monthly_patch_build
from flows.release_moment import AsOf, release_moment
from images.errors import ConfigurationError
from images.updates.patch_week import pacific_day

PATTERN = TypeAdapter(AsOf).json_schema()["pattern"]
NO_FORM = ["August", "2026-8-12", "20260812", "1786000000", "1999-08-12", "2026-08-12 10:00", "2026-08-12T", " "]
NO_DAY = ["2026-13-01", "2026-02-30", "2025-02-29T10:00:00Z", "2026-08-12T25:00", "2026-08-12T10:00+99:00"]


def test_nothing_means_now() -> None:
    before = datetime.now(UTC)
    assert before <= release_moment("") <= datetime.now(UTC)
    assert re.search(PATTERN, "")


@pytest.mark.parametrize("day", ["2026-08-11", "2026-03-08", "2026-11-01", "2028-02-29"])
def test_a_day_is_the_whole_of_it_in_redmond(day: str) -> None:
    moment = release_moment(day)
    assert pacific_day(moment) == date.fromisoformat(day)
    # The second Tuesday's release at 10:00 counts on that day already.
    assert moment > datetime.fromisoformat(f"{day}T17:00:00-08:00")
    assert re.search(PATTERN, day)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-08-12T09:00", datetime(2026, 8, 12, 9, tzinfo=UTC)),
        ("2026-08-12T09:00:30.5Z", datetime(2026, 8, 12, 9, 0, 30, 500_000, tzinfo=UTC)),
        ("2026-08-12T02:30:00+09:00", datetime(2026, 8, 11, 17, 30, tzinfo=UTC)),
    ],
)
def test_a_moment_keeps_its_zone_and_has_utc_without_one(text: str, moment: datetime) -> None:
    assert release_moment(text) == moment
    assert release_moment(text).tzinfo is not None
    assert re.search(PATTERN, text)


@pytest.mark.parametrize("text", NO_FORM)
def test_what_is_no_day_is_refused_by_form_and_run(text: str) -> None:
    assert re.search(PATTERN, text) is None
    with pytest.raises(ConfigurationError, match="neither a day nor a moment") as caught:
        release_moment(text)
    assert "2026-08-12" in caught.value.hint


@pytest.mark.parametrize("text", NO_DAY)
def test_a_day_that_no_calendar_has_is_refused_by_the_run(text: str) -> None:
    assert re.search(PATTERN, text)
    with pytest.raises(ConfigurationError, match="neither a day nor a moment"):
        release_moment(text)


def test_the_forms_schema_has_the_pattern_and_starts_empty() -> None:
    field = monthly_patch_build.parameters.model_dump()["properties"]["as_of"]
    assert (field["type"], field["pattern"], field["default"]) == ("string", PATTERN, "")
    assert "2026-08-12" in field["description"]
