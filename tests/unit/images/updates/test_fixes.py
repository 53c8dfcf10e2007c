"""What an image gained from one state of Windows to a later one, however the updates came there."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from images.updates.feed import FeedUpdate, UpdateKind, build_numbers
from images.updates.fixes import fixes_between
from tests.unit.images.updates.samples import update

JUNE = update("KB5100001", "2026-06-09", "20348.5256")
JULY = update("KB5110001", "2026-07-14", "20348.5386", cves=("CVE-2026-1",))
JULY_PREVIEW = update("KB5110002", "2026-07-28", "20348.5421", "preview")
AUGUST = update("KB5120242", "2026-08-11", "20348.5499", cves=("CVE-2026-2",))
URGENT = update("KB5120260", "2026-08-20", "20348.5510")
PREVIEW = update("KB5120300", "2026-08-25", "20348.5538", "preview")
HOTPATCH = update("KB5120500", "2026-08-11", "20348.5490", "hotpatch")
DOTNET = update("KB5120705", "2026-08-11", kind="dotnet")
STACK = update("KB5120241", "2026-08-11", kind="servicing-stack")
OF_2019 = update("KB5120900", "2026-08-11", "17763.9012")
FEED = (URGENT, AUGUST, PREVIEW, JULY, HOTPATCH, OF_2019, JUNE, DOTNET, STACK, JULY_PREVIEW)


def kbs(before: str, after: str, *, feed: tuple[FeedUpdate, ...] = FEED, new: tuple[str, ...] = ()) -> list[str]:
    return [each.kb for each in fixes_between(feed, before, after, new_kbs=new)]


def test_every_release_above_the_old_and_up_to_the_new_build_came_oldest_first() -> None:
    assert kbs("20348.5256", "20348.5510") == ["KB5110001", "KB5120242", "KB5120260"]
    assert kbs("20348.5386", "20348.5499") == ["KB5120242"]


def test_builds_compare_as_numbers() -> None:
    old = update("KB5000001", "2021-10-12", "20348.999")
    assert kbs("20348.999", "20348.5256", feed=(old, JUNE)) == ["KB5100001"]
    assert kbs("20348.998", "20348.1000", feed=(old, JUNE)) == ["KB5000001"]


def test_nothing_came_to_an_image_that_is_as_it_was_or_older() -> None:
    assert kbs("20348.5499", "20348.5499") == []
    assert kbs("20348.5499", "20348.5386") == []


def test_another_windows_is_no_comparison() -> None:
    assert kbs("17763.8880", "20348.5499") == []
    assert kbs("17763.8880", "17763.9012") == ["KB5120900"]


def test_a_preview_counts_while_it_is_the_newest_and_not_once_it_is_replaced() -> None:
    assert kbs("20348.5510", "20348.5538") == ["KB5120300"]
    assert kbs("20348.5386", "20348.5499") == ["KB5120242"]


def test_a_hotpatch_never_counts() -> None:
    assert kbs("20348.5386", "20348.5490") == []


def test_what_leaves_the_build_alone_counts_when_the_image_newly_has_it() -> None:
    assert kbs("20348.5386", "20348.5499", new=("KB5120705",)) == ["KB5120705", "KB5120242"]
    # Also when nothing else came.
    assert kbs("20348.5499", "20348.5499", new=("KB5120241", "KB5120705", "KB5120242")) == ["KB5120241", "KB5120705"]


def test_a_kb_that_two_months_mention_comes_once_with_all_that_it_fixes() -> None:
    again = update("KB5120242", "2026-09-08", "20348.5499", cves=("CVE-2026-9",))
    (found,) = fixes_between((AUGUST, again), "20348.5386", "20348.5499")
    assert (found.cves, found.released) == (("CVE-2026-2", "CVE-2026-9"), AUGUST.released)


ubrs = st.integers(min_value=1, max_value=9000)


@st.composite
def feeds(draw: st.DrawFn) -> tuple[FeedUpdate, ...]:
    found = draw(
        st.lists(st.tuples(ubrs, st.sampled_from(UpdateKind), st.sampled_from([20348, 17763])), max_size=12, unique_by=lambda e: e[0])
    )
    return tuple(update(f"KB{5000000 + ubr}", "2026-08-11", f"{build}.{ubr}", kind.value) for ubr, kind, build in found)


@given(feeds(), ubrs, ubrs, ubrs, st.randoms())
def test_two_steps_give_what_one_step_gives_but_previews_between(
    feed: tuple[FeedUpdate, ...], one: int, two: int, three: int, shuffle: random.Random
) -> None:
    low, middle, high = (f"20348.{ubr}" for ubr in sorted((one, two, three)))
    mixed = list(feed)
    shuffle.shuffle(mixed)
    at_once = fixes_between(mixed, low, high)
    assert at_once == fixes_between(feed, low, high)
    steps = (*fixes_between(feed, low, middle), *fixes_between(feed, middle, high))
    replaced = [each for each in steps if each.kind is UpdateKind.PREVIEW and each.fixed_build != high]
    assert {each.kb for each in at_once} == {each.kb for each in steps} - {each.kb for each in replaced}
    for each in at_once:
        assert each.windows_build == 20348
        assert build_numbers(low) < build_numbers(each.fixed_build or "") <= build_numbers(high)
