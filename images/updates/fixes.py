"""What an image gained from the updates between two states of Windows."""

from __future__ import annotations

from collections.abc import Iterable

from images.updates.feed import FeedUpdate, build_numbers


def fixes_between(feed: Iterable[FeedUpdate], before: str, after: str) -> tuple[FeedUpdate, ...]:
    """The updates, oldest first, whose build.UBR lies above `before` and not above `after`, both of the same Windows build.

    They are in the newer Windows however they came there: installed by the build, or with a newer base image. Nothing when `before` is of
    another Windows build.
    """
    low, high = build_numbers(before), build_numbers(after)
    if low[0] != high[0]:
        return ()
    gained = (
        update
        for update in feed
        if update.windows_build == high[0] and update.fixed_build is not None and low < build_numbers(update.fixed_build) <= high
    )
    return tuple(sorted(gained, key=lambda update: (build_numbers(update.fixed_build or ""), update.kb)))
