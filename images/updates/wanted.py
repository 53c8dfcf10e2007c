"""Updates that somebody names by KB, found in a feed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from images.errors import DefinitionError, Problem
from images.updates.feed import FeedUpdate
from images.updates.products import release_name
from images.updates.supersedence import kb_number


def find_wanted(updates: Sequence[FeedUpdate], wanted: Sequence[str], windows_build: int, last: date) -> tuple[FeedUpdate, ...]:
    """The updates of the KBs named for a Windows build; DefinitionError, with all faults, when one is not to be had on the last day.

    An update for another Windows is never left out in silence: whoever names it believes that the image has it.
    """
    found: list[FeedUpdate] = []
    problems: list[Problem] = []
    for number, text in enumerate(wanted):
        kb = kb_number(text)
        named = [update for update in updates if update.kb == kb]
        ours = [update for update in named if update.windows_build == windows_build]
        message, hint = "", ""
        if kb is None:
            message, hint = f'"{text}" is not a KB number', "for example KB5120241"
        elif not named:
            message, hint = f"{kb} is not in the feed", "check the number, and the months that the feed is read for"
        elif not ours:
            message, hint = _foreign(named, windows_build)
        elif ours[0].released > last:
            message, hint = f"{kb} comes on {ours[0].released} only", f"the feed is looked at as of {last}"
        else:
            found += ours
        if message:
            problems.append(Problem("updates", 0, f"[{number}]", message, hint))
    if problems:
        raise DefinitionError(problems)
    return tuple(dict.fromkeys(found))


def refuse_foreign(updates: Sequence[FeedUpdate], listed: Sequence[str], windows_build: int) -> None:
    """Raise DefinitionError, with all faults, when the feed knows a KB that is listed, and only for another Windows.

    One that the feed does not know says nothing: it may be older than the months that were read, or no public one.
    """
    problems = []
    for number, kb in enumerate(listed):
        named = [update for update in updates if update.kb == kb]
        if named and all(update.windows_build != windows_build for update in named):
            message, hint = _foreign(named, windows_build)
            problems.append(Problem("updates", 0, f"[{number}]", message, hint))
    if problems:
        raise DefinitionError(problems)


def _foreign(named: Sequence[FeedUpdate], windows_build: int) -> tuple[str, str]:
    """What is wrong with an update for another Windows, and a hint."""
    others = ", ".join(sorted({release_name(update.windows_build) for update in named}))
    return f"{named[0].kb} is for {others}", f"this image is {release_name(windows_build)}"
