"""The tasks around the feeds: one source or the other, and the files of what was selected."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import httpx
import pytest

from images.errors import ConfigurationError, DefinitionError, FeedError
from images.updates.feed import FeedUpdate, UpdateKind
from images.updates.patch_week import b_release, months_until
from images.updates.selection import Selection, select_updates
from infra.azure.session import Cloud
from infra.local.origin.update_calendar import CUMULATIVE_UPDATES, IMAGE_DELAY
from tasks.locate_updates import locate_updates
from tasks.read_feed import MSRC, read_feed
from tests.unit.feeds.conftest import Microsoft

EVENING = 20


def moment(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, EVENING, tzinfo=UTC)


def select(feed: tuple[FeedUpdate, ...], base: str, day: str, **more: str) -> Selection:
    when = moment(date.fromisoformat(day))
    return select_updates(feed, int(base.split(".", 1)[0]), base, as_of=when, **more)  # type: ignore[arg-type]


def test_the_msrc_gives_the_months_asked_for_or_the_last_thirteen(cloud: Cloud) -> None:
    assert {update.month for update in read_feed(cloud, MSRC, ["2026-07", "2026-08"])} == {"2026-07", "2026-08"}
    assert {update.month for update in read_feed(cloud, MSRC, [])} == set(months_until("2026-11", 13))


def test_a_file_gives_the_months_asked_for_or_all(cloud: Cloud, microsoft: Microsoft, feed_path: Path) -> None:
    feed_path.write_text(httpx.get(f"{microsoft.gateway}/.feed", timeout=60).text, encoding="utf-8")
    assert {update.month for update in read_feed(cloud, str(feed_path), ["2026-08"])} == {"2026-08"}
    assert len({update.month for update in read_feed(cloud, str(feed_path), [])}) > 14
    with pytest.raises(DefinitionError, match="can not be read"):
        read_feed(cloud, str(feed_path.with_name("none.yaml")), [])


def test_a_text_that_is_no_month_is_refused(cloud: Cloud) -> None:
    with pytest.raises(ConfigurationError, match="not a month: 'August'") as caught:
        read_feed(cloud, MSRC, ["August"])
    assert caught.value.hint


def test_what_the_msrc_tells_is_found_in_the_catalog(cloud: Cloud) -> None:
    feed = read_feed(cloud, MSRC, ["2026-07", "2026-08"])
    found = locate_updates(cloud, select(feed, "20348.5386", "2026-08-12"), feed)
    assert [update.kb for update in found] == ["KB5120241", "KB5120242", "KB5120705"]
    assert all(update.url and update.url.startswith("https://catalog.s.download.windowsupdate.com/") for update in found)
    assert found[1].fixed_build == "20348.5499"


def test_a_checkpoint_that_no_feed_marks_is_found_in_the_catalog(cloud: Cloud) -> None:
    feed = read_feed(cloud, MSRC, months_until("2026-11", 3))
    selection = select(feed, "26100.33441", "2026-11-11")
    assert [update.kb for update in selection.updates] == ["KB9003725", "KB97002610"]
    checkpoint, target, dotnet = locate_updates(cloud, selection, feed)
    assert (checkpoint.kb, checkpoint.kind, checkpoint.fixed_build) == ("KB9003580", UpdateKind.CHECKPOINT, "26100.33580")
    assert (target.kb, target.kind, dotnet.kb) == ("KB9003725", UpdateKind.CUMULATIVE, "KB97002610")
    # A base that is past the checkpoint does not get it; the one of 2024 is known.
    assert [update.kb for update in locate_updates(cloud, select(feed, "26100.33580", "2026-11-11"), feed)] == ["KB9003725"]
    older = read_feed(cloud, MSRC, ["2026-08"])
    assert [update.kb for update in locate_updates(cloud, select(older, "26100.33158", "2026-08-12"), older)] == ["KB9003296"]


def test_a_checkpoint_of_months_that_were_not_read_is_asked_for(cloud: Cloud) -> None:
    november = read_feed(cloud, MSRC, ["2026-11"])
    with pytest.raises(FeedError, match="which build the checkpoint KB9003580 brings") as caught:
        locate_updates(cloud, select(november, "26100.33441", "2026-11-11"), november)
    assert "more months" in caught.value.hint


def test_a_url_of_the_feed_is_not_looked_up(cloud: Cloud, microsoft: Microsoft, feed_path: Path) -> None:
    feed_path.write_text(httpx.get(f"{microsoft.gateway}/.feed", timeout=60).text, encoding="utf-8")
    feed = read_feed(cloud, str(feed_path), [])
    microsoft.strike("InternalServerError", 500)
    selection = select(feed, "20348.5386", "2026-08-26", kind="preview")
    found = locate_updates(cloud, selection, feed)
    assert [update.kind for update in found] == [UpdateKind.SERVICING_STACK, UpdateKind.PREVIEW, UpdateKind.DOTNET]
    assert found == selection.updates


def test_an_update_that_the_catalog_has_not_yet_is_an_error_with_a_way_out(cloud: Cloud, microsoft: Microsoft) -> None:
    feed = read_feed(cloud, MSRC, ["2026-08"])
    microsoft.today.pretend(date(2026, 8, 10))
    with pytest.raises(FeedError, match="has no file of KB5120241") as caught:
        locate_updates(cloud, select(feed, "20348.5386", "2026-08-12"), feed)
    assert "docs/update-feed.md" in caught.value.hint


@pytest.mark.parametrize("build", [17763, 20348, 26100])
def test_a_year_of_patch_weeks_agrees_with_the_marketplace(cloud: Cloud, microsoft: Microsoft, build: int) -> None:
    """The day after each second Tuesday: the image of the month before lacks exactly this month, or there is no release."""
    for month in months_until("2026-11", 12):
        day = b_release(month).replace(day=b_release(month).day + 1)
        microsoft.today.pretend(day)
        images = [each for each in CUMULATIVE_UPDATES if each.build == build and each.image_date and each.released + IMAGE_DELAY <= day]
        feed = read_feed(cloud, MSRC, months_until(month, 3))
        selection = select_updates(feed, build, images[-1].image_version or "", as_of=moment(day))
        targets = [update for update in selection.updates if update.cumulative]
        if (build, month) == (17763, "2026-07"):
            assert (selection.outcome, targets) == ("no-release", [])
            continue
        assert selection.outcome == "release", month
        (target,) = targets
        assert (target.released, target.month) == (b_release(month), month)
        assert all(update.url for update in locate_updates(cloud, selection, feed))
