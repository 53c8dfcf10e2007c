"""What an image gained from the updates between two states of Windows."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from images.updates.feed import FeedUpdate, UpdateKind, build_numbers
from images.updates.merging import merge_updates


def fixes_between(feed: Iterable[FeedUpdate], before: str, after: str, *, new_kbs: Collection[str] = ()) -> tuple[FeedUpdate, ...]:
    """The updates, oldest first and each once, whose build.UBR lies above `before` and not above `after`, both of the same Windows build.

    They are in the newer Windows however they came there: installed by the build, or with a newer base image. Updates that leave the build
    number alone (.NET, servicing stacks) count when they are among `new_kbs`. A preview that something newer replaced is left out, since no
    image holds it. Nothing when `before` is of another Windows build.
    """
    low, high = build_numbers(before), build_numbers(after)
    if low[0] != high[0]:
        return ()
    ours = (update for update in merge_updates(feed) if update.windows_build == high[0])
    return tuple(sorted((update for update in ours if _came(update, low, high, new_kbs)), key=_age))


def _came(update: FeedUpdate, low: tuple[int, ...], high: tuple[int, ...], new_kbs: Collection[str]) -> bool:
    if update.fixed_build is None:
        return update.kb in new_kbs
    reached = build_numbers(update.fixed_build)
    # A hotpatch has a build of its own that our images never see; its fixes are in the cumulative update.
    return update.cumulative and low < reached <= high and (update.kind is not UpdateKind.PREVIEW or reached == high)


def _age(update: FeedUpdate) -> tuple[str, tuple[int, ...], str]:
    return update.released.isoformat(), build_numbers(update.fixed_build or f"{update.windows_build}"), update.kb
