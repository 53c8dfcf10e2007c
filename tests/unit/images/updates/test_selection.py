"""Which updates a base needs, in which order, and what is said about the others."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from images.errors import DefinitionError
from images.updates.feed import FeedUpdate, build_numbers
from images.updates.selection import Selection, select_updates
from images.updates.wanted import refuse_foreign
from tests.unit.images.updates.samples import update

JULY = update("KB5110001", "2026-07-14", "20348.5386")
JULY_PREVIEW = update("KB5110002", "2026-07-28", "20348.5421", "preview")
AUGUST = update("KB5120242", "2026-08-11", "20348.5499", supersedes=("KB5110001",), cves=("CVE-2026-1",))
URGENT = update("KB5120260", "2026-08-20", "20348.5510")
PREVIEW = update("KB5120300", "2026-08-25", "20348.5538", "preview")
STACK = update("KB5120241", "2026-08-11", kind="servicing-stack")
DOTNET = update("KB5120705", "2026-08-11", kind="dotnet", products=("Microsoft .NET Framework 3.5 AND 4.8 on Windows Server 2022",))
OTHER_DOTNET = update("KB5120706", "2026-08-11", kind="dotnet", products=("Microsoft .NET Framework 4.8.1 on Windows Server 2022",))
HOTPATCH = update("KB5120500", "2026-08-11", "20348.5490", "hotpatch")
OF_2019 = update("KB5120900", "2026-08-11", "17763.9012")
FEED = (AUGUST, JULY, JULY_PREVIEW, STACK, DOTNET, OTHER_DOTNET, HOTPATCH, OF_2019)


def noon(day: str) -> datetime:
    return datetime.fromisoformat(f"{day}T19:00:00+00:00")


def select(*feed: FeedUpdate, base: str = "20348.5386", day: str = "2026-08-12", **more: object) -> Selection:
    return select_updates(feed or FEED, int(base.split(".", maxsplit=1)[0]), base, as_of=noon(day), **more)  # type: ignore[arg-type]


def kbs(selection: Selection) -> list[str]:
    return [each.kb for each in selection.updates]


def skips(selection: Selection) -> dict[str, tuple[str, str | None]]:
    return {each.kb: (each.why, each.by) for each in selection.skipped}


def test_the_day_after_patch_tuesday_the_month_is_installed_in_order() -> None:
    found = select()
    assert (found.outcome, found.reason, found.month) == ("release", "", "2026-08")
    assert kbs(found) == ["KB5120241", "KB5120242", "KB5120705"]
    assert (found.base_build, found.target_build) == ("20348.5386", "20348.5499")
    assert skips(found) == {
        "KB5110002": ("preview", None),
        "KB5120500": ("hotpatch", None),
        "KB5120706": ("other", None),
    }
    texts = {each.kb: each.text for each in found.skipped}
    assert "4.8.1, this Windows comes with 4.8" in texts["KB5120706"]


def test_an_older_base_skips_the_months_between_and_says_by_what() -> None:
    found = select(base="20348.5256")
    assert kbs(found) == ["KB5120241", "KB5120242", "KB5120705"]
    assert skips(found)["KB5110001"] == ("superseded", "KB5120242")


def test_a_base_of_this_month_needs_nothing() -> None:
    found = select(base="20348.5499.260809")
    assert (found.outcome, kbs(found), found.target_build) == ("release", [], "20348.5499")
    assert skips(found)["KB5120242"] == ("in-base", None)
    # Neither the servicing stack nor .NET has a build: the base holds what came with its own update.
    assert skips(found)["KB5120241"] == skips(found)["KB5120705"] == ("in-base", None)
    texts = {each.kb: each.text for each in found.skipped}
    assert texts["KB5120242"] == "already in the base, which is at 20348.5499"


def test_bases_compare_as_numbers() -> None:
    found = select(update("KB5111111", "2026-08-11", "20348.1006"), base="20348.999")
    assert kbs(found) == ["KB5111111"]


def test_an_out_of_band_update_replaces_the_b_release() -> None:
    found = select(*FEED, URGENT, day="2026-08-21")
    assert kbs(found) == ["KB5120241", "KB5120260", "KB5120705"]
    assert skips(found)["KB5120242"] == ("superseded", "KB5120260")


def test_a_month_without_a_b_release_is_a_normal_outcome() -> None:
    found = select(JULY, base="20348.5386", day="2026-08-12")
    assert (found.outcome, found.reason) == ("no-release", "no B release for Windows Server 2022 in 2026-08")
    assert (kbs(found), found.target_build) == ([], "20348.5386")
    # What the base lacks from the months before is still told.
    assert kbs(select(JULY, base="20348.5256", day="2026-08-12")) == ["KB5110001"]


def test_an_out_of_band_update_alone_is_no_b_release() -> None:
    found = select(JULY, URGENT, day="2026-08-21")
    assert (found.outcome, kbs(found)) == ("no-release", ["KB5120260"])


def test_before_patch_tuesday_the_b_release_is_yet_to_come() -> None:
    found = select(day="2026-08-10")
    assert (found.outcome, found.reason) == ("no-release", "the B release of 2026-08 comes on 2026-08-11")


def test_the_clocks_timezone_does_not_matter() -> None:
    # Wednesday, 05:00 in Tokyo: Tuesday, 13:00 in Redmond, three hours after the release.
    tokyo = datetime(2026, 8, 12, 5, 0, tzinfo=ZoneInfo("Asia/Tokyo"))
    assert select_updates(FEED, 20348, "20348.5386", as_of=tokyo) == select(day="2026-08-11")
    # Wednesday, 06:00 in Auckland, is Tuesday, 11:00 in Redmond; Tuesday there was Monday.
    before = datetime(2026, 8, 11, 18, 0, tzinfo=ZoneInfo("Pacific/Auckland"))
    assert select_updates(FEED, 20348, "20348.5386", as_of=before).outcome == "no-release"


def test_a_preview_is_selected_only_when_previews_are_wanted() -> None:
    found = select(*FEED, PREVIEW, day="2026-08-26", kind="preview")
    assert (found.outcome, kbs(found)) == ("release", ["KB5120241", "KB5120300", "KB5120705"])
    assert found.target_build == "20348.5538"
    assert skips(found)["KB5120242"] == ("superseded", "KB5120300")
    plain = select(*FEED, PREVIEW, day="2026-08-26")
    assert plain.target_build == "20348.5499"
    assert skips(plain)["KB5120300"] == ("preview", None)


def test_no_preview_this_month_is_a_normal_outcome() -> None:
    found = select(day="2026-08-26", kind="preview")
    assert (found.outcome, found.reason) == ("no-release", "no preview for Windows Server 2022 in 2026-08 so far")
    # Last month's preview is not taken for this month's.
    assert found.target_build == "20348.5499"
    later = select(day="2026-09-02", kind="preview", month="2026-08")
    assert later.reason == "no preview for Windows Server 2022 in 2026-08"


def test_a_month_is_looked_at_as_it_ended() -> None:
    september = update("KB5130001", "2026-09-08", "20348.5622")
    assert select(*FEED, september, day="2026-10-01", month="2026-08").target_build == "20348.5499"
    assert select(*FEED, september, day="2026-09-09").target_build == "20348.5622"


CHECKPOINT = update("KB9003580", "2026-10-13", "26100.33580", "checkpoint")
FIRST_CHECKPOINT = update("KB5043080", "2024-09-10", "26100.1742", "checkpoint")
NOVEMBER = update("KB9003725", "2026-11-10", "26100.33725")


def test_checkpoints_that_the_base_lacks_come_before_the_target() -> None:
    feed = (NOVEMBER, CHECKPOINT, FIRST_CHECKPOINT)
    assert kbs(select(*feed, base="26100.33296", day="2026-11-11")) == ["KB9003580", "KB9003725"]
    assert kbs(select(*feed, base="26100.1", day="2026-11-11")) == ["KB5043080", "KB9003580", "KB9003725"]
    assert kbs(select(*feed, base="26100.33580", day="2026-11-11")) == ["KB9003725"]


def test_a_checkpoint_can_be_the_months_release_itself() -> None:
    found = select(NOVEMBER, CHECKPOINT, FIRST_CHECKPOINT, base="26100.33441", day="2026-10-14")
    assert (found.outcome, kbs(found), found.target_build) == ("release", ["KB9003580"], "26100.33580")


def test_the_newest_servicing_stack_replaces_older_ones() -> None:
    older = update("KB5110240", "2026-07-20", kind="servicing-stack")
    found = select(*FEED, older)
    assert skips(found)["KB5110240"] == ("superseded", "KB5120241")


def test_dotnet_updates_replace_each_other_as_the_feed_says() -> None:
    older = update("KB5110705", "2026-07-20", kind="dotnet")
    newer = DOTNET.model_copy(update={"supersedes": ("KB5110705",)})
    found = select(AUGUST, JULY, older, newer)
    assert kbs(found) == ["KB5120242", "KB5120705"]
    assert skips(found)["KB5110705"] == ("superseded", "KB5120705")


def test_a_cumulative_update_without_a_build_is_not_installed() -> None:
    found = select(JULY, update("KB5120242", "2026-08-11"))
    assert (kbs(found), skips(found)["KB5120242"]) == ([], ("other", None))


def test_named_kbs_are_taken_and_nothing_else() -> None:
    found = select(*FEED, PREVIEW, day="2026-08-26", wanted=("5120300", "KB5120241"))
    assert (found.outcome, kbs(found), found.target_build) == ("release", ["KB5120241", "KB5120300"], "20348.5538")
    both = select(*FEED, wanted=("KB5110001", "KB5120242", "KB5120242"), base="20348.5256")
    assert (kbs(both), skips(both)) == (["KB5120242"], {"KB5110001": ("superseded", "KB5120242")})
    old = select(*FEED, wanted=("KB5110001",), base="20348.5256")
    assert kbs(old) == ["KB5110001"]
    assert skips(select(*FEED, wanted=("KB5110001",))) == {"KB5110001": ("in-base", None)}


def test_all_named_kbs_that_can_not_be_had_are_told_at_once() -> None:
    with pytest.raises(DefinitionError) as caught:
        select(*FEED, URGENT, wanted=("KB5120900", "KB5999999", "five", "KB5120260", "KB5120242"))
    assert [problem.message for problem in caught.value.problems] == [
        "KB5120900 is for Windows Server 2019",
        "KB5999999 is not in the feed",
        '"five" is not a KB number',
        "KB5120260 comes on 2026-08-20 only",
    ]
    assert caught.value.problems[0].hint == "this image is Windows Server 2022"


@pytest.mark.parametrize(
    ("base", "windows_build", "as_of"),
    [
        ("20348", 20348, noon("2026-08-12")),
        ("20348.x", 20348, noon("2026-08-12")),
        ("17763.1", 20348, noon("2026-08-12")),
        ("20348.1", 20348, datetime(2026, 8, 12)),
    ],
)
def test_nonsense_is_refused(base: str, windows_build: int, as_of: datetime) -> None:
    with pytest.raises(ValueError, match=r"not a build|is not of Windows build|without a timezone"):
        select_updates(FEED, windows_build, base, as_of=as_of)


@st.composite
def feeds(draw: st.DrawFn) -> list[FeedUpdate]:
    """Years of cumulative updates with growing builds, previews and checkpoints among them."""
    day, ubr, found = date(2025, 1, 7), 1000, []
    for number in range(draw(st.integers(0, 14))):
        day += timedelta(days=draw(st.integers(1, 40)))
        ubr += draw(st.integers(1, 900))
        kind = draw(st.sampled_from(["cumulative", "cumulative", "preview", "checkpoint"]))
        found.append(update(f"KB{5000000 + number}", day.isoformat(), f"26100.{ubr}", kind))
    return found


@given(
    feeds(), st.integers(900, 9000), st.dates(date(2025, 1, 1), date(2026, 12, 31)), st.sampled_from(["b-week", "preview"]), st.randoms()
)
def test_whatever_the_feed_a_selection_holds_together(
    feed: list[FeedUpdate], ubr: int, day: date, kind: str, chance: random.Random
) -> None:
    as_of = datetime(day.year, day.month, day.day, 20, tzinfo=UTC)
    found = select_updates(feed, 26100, f"26100.{ubr}", kind=kind, as_of=as_of)  # type: ignore[arg-type]
    builds = [build_numbers(each.fixed_build or "") for each in found.updates]
    assert builds == sorted(builds)
    assert all(build > (26100, ubr) for build in builds)
    assert all(each.released <= day for each in found.updates)
    assert sum(each.kind != "checkpoint" for each in found.updates) <= 1
    assert build_numbers(found.target_build) == max([(26100, ubr), *builds])
    assert {each.kb for each in found.updates}.isdisjoint(each.kb for each in found.skipped)
    if kind == "b-week":
        released = [build_numbers(each.fixed_build or "") for each in feed if each.kind != "preview" and each.released <= day]
        assert build_numbers(found.target_build) == max([(26100, ubr), *released])
    shuffled = list(feed)
    chance.shuffle(shuffled)
    assert select_updates(shuffled, 26100, f"26100.{ubr}", kind=kind, as_of=as_of) == found  # type: ignore[arg-type]


@given(feeds(), st.dates(date(2025, 1, 1), date(2026, 12, 31)))
def test_a_base_at_the_target_needs_nothing_more(feed: list[FeedUpdate], day: date) -> None:
    as_of = datetime(day.year, day.month, day.day, 20, tzinfo=UTC)
    first = select_updates(feed, 26100, "26100.1", as_of=as_of)
    again = select_updates(feed, 26100, first.target_build, as_of=as_of)
    assert again.updates == ()
    assert (again.target_build, again.outcome) == (first.target_build, first.outcome)


def test_listed_updates_for_another_windows_are_refused_all_at_once_and_unknown_ones_are_not() -> None:
    with pytest.raises(DefinitionError) as caught:
        refuse_foreign(FEED, ["KB5120900", "KB5120242", "KB1234567", "KB5120900"], 20348)
    assert [problem.message for problem in caught.value.problems] == ["KB5120900 is for Windows Server 2019"] * 2
    refuse_foreign(FEED, ["KB5120242", "KB1234567"], 20348)
    # One KB for several builds is no fault.
    refuse_foreign((*FEED, update("KB5120900", "2026-08-11", "20348.9012")), ["KB5120900"], 20348)
