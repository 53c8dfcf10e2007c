"""The monthly runs start on the day after Microsoft's releases, in every month and at the same hour in Redmond."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import yaml
from prefect.server.schemas.schedules import RRuleSchedule
from prefect.utilities.templating import apply_values

from images.updates.patch_week import PACIFIC, nth_tuesday
from infra.prefect.registration import PREFECT_FILE

# The server's library knows no daylight saving time after 2037.
FIRST, LAST = 2024, 2037
MONTHS = [(year, month) for year in range(FIRST, LAST + 1) for month in range(1, 13)]
ORDINALS = {"monthly-b-week": 2, "monthly-preview": 4}


def _deployments() -> list[dict[str, Any]]:
    declared: list[dict[str, Any]] = yaml.safe_load(PREFECT_FILE.read_text(encoding="utf-8"))["deployments"]
    return declared


def _starts(deployment: str) -> list[datetime]:
    """When the server would start runs from the first year to the last, by the code that it does it with."""
    (declared,) = (each for each in _deployments() if each["name"] == deployment)
    begin, end = datetime(FIRST, 1, 1, tzinfo=PACIFIC), datetime(LAST + 1, 1, 1, tzinfo=PACIFIC)
    found: list[datetime] = []
    for entry in declared["schedules"]:
        schedule = RRuleSchedule(rrule=entry["rrule"], timezone=entry["timezone"])
        found += asyncio.run(schedule.get_dates(start=begin, end=end))
    return sorted(found)


@pytest.fixture(scope="module", params=ORDINALS)
def starts(request: pytest.FixtureRequest) -> tuple[int, list[datetime]]:
    """Which Tuesday a deployment follows, and when it starts."""
    return ORDINALS[request.param], _starts(request.param)


def test_every_month_has_one_run_on_the_day_after_its_tuesday(starts: tuple[int, list[datetime]]) -> None:
    ordinal, found = starts
    expected = [nth_tuesday(year, month, ordinal) + timedelta(days=1) for year, month in MONTHS]
    assert [start.astimezone(PACIFIC).date() for start in found] == expected


def test_it_is_six_in_redmond_in_summer_and_in_winter(starts: tuple[int, list[datetime]]) -> None:
    _, found = starts
    assert {start.astimezone(PACIFIC).strftime("%H:%M:%S") for start in found} == {"06:00:00"}
    assert {start.astimezone(UTC).hour for start in found} == {13, 14}


def test_month_that_begins_on_a_wednesday_starts_in_its_third_week() -> None:
    # 8 April 2026 is the second Wednesday, six days before the second Tuesday.
    days = {start.astimezone(PACIFIC).date() for start in _starts("monthly-b-week")}
    assert date(2026, 4, 15) in days
    assert date(2026, 4, 8) not in days


def test_fourth_tuesday_on_the_last_of_february_starts_in_march() -> None:
    days = [start.astimezone(PACIFIC).date() for start in _starts("monthly-preview")]
    assert date(2034, 3, 1) in days
    # The first of March 2028 is a Wednesday as well, after a fifth Tuesday.
    assert date(2028, 2, 23) in days
    assert date(2028, 3, 1) not in days


def test_schedules_have_slugs_of_their_own() -> None:
    slugs = [entry["slug"] for declared in _deployments() for entry in declared.get("schedules", [])]
    assert len(slugs) == len(set(slugs)) == 4


@pytest.mark.parametrize(("cloud", "monthly"), [("local", "false"), ("azure", "true")])
def test_one_file_serves_the_stand_in_and_azure(monkeypatch: pytest.MonkeyPatch, cloud: str, monthly: str) -> None:
    monkeypatch.setenv("WINVHD_CLOUD", cloud)
    monkeypatch.setenv("WINVHD_MONTHLY_RUNS", monthly)
    deployments = apply_values({"deployments": _deployments()}, {})["deployments"]
    assert {declared["parameters"]["cloud"] for declared in deployments} == {cloud}
    active = {declared["name"]: {entry["active"] for entry in declared.get("schedules", [])} for declared in deployments}
    assert {name for name, values in active.items() if values == {monthly}} == set(ORDINALS)
    assert active["reap-resources"] == {True}
