"""Which updates of a feed a Windows Server build needs, in the order in which they are installed, and why the others are left out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Literal, TypeAlias

from images.frozen import Frozen
from images.updates.feed import FeedUpdate, UpdateKind, build_numbers
from images.updates.merging import merge_updates
from images.updates.patch_week import Month, PatchWeek, b_release, last_day, month_of, pacific_day
from images.updates.products import INBOX_DOTNET, dotnet_versions, release_name
from images.updates.supersedence import replaced_by
from images.updates.wanted import find_wanted

SelectionKind: TypeAlias = Literal["b-week", "preview"]
SkipReason: TypeAlias = Literal["superseded", "in-base", "hotpatch", "preview", "other"]

_ORDER = (UpdateKind.SERVICING_STACK, UpdateKind.CHECKPOINT, UpdateKind.CUMULATIVE, UpdateKind.PREVIEW, UpdateKind.DOTNET)
_BASE = re.compile(r"(\d+)\.(\d+)(?:\.(\d{6}))?")


class SkippedUpdate(Frozen):
    """An update that is not installed; `by` is the one that replaces it, `text` says why, in words that fit several KBs as well."""

    kb: str
    why: SkipReason
    by: str | None = None
    text: str


class Selection(Frozen):
    """What a base image of one Windows build lacks in one month."""

    windows_build: int
    base_build: str
    """build.UBR of the base."""
    month: Month
    kind: SelectionKind
    outcome: Literal["release", "no-release"]
    """no-release: the product has no B release (no preview) in this month; `reason` says so. A normal outcome."""
    reason: str = ""
    updates: tuple[FeedUpdate, ...] = ()
    """In install order. Without a release: what the base lacks from the months before, often nothing."""
    skipped: tuple[SkippedUpdate, ...] = ()
    target_build: str
    """build.UBR that Windows must report when all of them are installed: the base's own when none changes it."""


@dataclass(frozen=True)
class _Base:
    """The base image: its build.UBR as numbers, and the day whose updates it holds."""

    numbers: tuple[int, ...]
    updated: date


def select_updates(
    feed: Iterable[FeedUpdate],
    windows_build: int,
    base_build: str,
    *,
    kind: SelectionKind = "b-week",
    as_of: datetime,
    month: Month | None = None,
    wanted: Sequence[str] = (),
) -> Selection:
    """What a base image (build.UBR, or a whole marketplace version) needs of a feed.

    `as_of` has a timezone; nothing that was released later, or after `month` (default: its own), is seen. `b-week` takes the newest
    cumulative update, `preview` the month's newest preview. `wanted` names exactly the KBs to choose from.
    Raises DefinitionError for a wanted KB that is for another Windows or not in the feed, ValueError for a build that is none, for one of
    another Windows than `windows_build`, and for a moment without a timezone.
    """
    today = pacific_day(as_of)
    month = month or month_of(today)
    last = min(today, last_day(month))
    updates = merge_updates(feed)
    ours = tuple(update for update in updates if update.windows_build == windows_build and update.released <= last)
    base = _base(base_build, windows_build, ours)
    if wanted:
        ours = find_wanted(updates, wanted, windows_build, last)
        outcome, reason = True, ""
    else:
        outcome, reason = _release(ours, windows_build, kind, month, last)
    previews = None if wanted else month if kind == "preview" and outcome else ""
    chosen, skipped = _choose(ours, base, previews)
    if not wanted:
        # What the base has had for months is nobody's news.
        said = {update.kb for update in ours if update.released > base.updated or update.month == month}
        skipped = [each for each in skipped if each.kb in said]
    reached = max([base.numbers, *(build_numbers(update.fixed_build) for update in chosen if update.fixed_build)])
    return Selection(
        windows_build=windows_build,
        base_build=".".join(map(str, base.numbers)),
        month=month,
        kind=kind,
        outcome="release" if outcome else "no-release",
        reason=reason,
        updates=tuple(chosen),
        skipped=tuple(skipped),
        target_build=".".join(map(str, reached)),
    )


def _base(base_build: str, windows_build: int, ours: Sequence[FeedUpdate]) -> _Base:
    found = _BASE.fullmatch(base_build)
    if found is None:
        raise ValueError(f"not a build.UBR or a marketplace version: {base_build!r}")
    numbers = (int(found[1]), int(found[2]))
    if numbers[0] != windows_build:
        raise ValueError(f"{base_build} is not of Windows build {windows_build}")
    # What has no build of its own (.NET, servicing stacks) is told by its day: an image holds all that came out with its own update.
    days = [update.released for update in ours if update.fixed_build and build_numbers(update.fixed_build) <= numbers]
    if found[3]:
        days.append(datetime.strptime(found[3], "%y%m%d").replace(tzinfo=UTC).date())
    return _Base(numbers, max(days, default=date.min))


def _release(ours: Sequence[FeedUpdate], windows_build: int, kind: SelectionKind, month: Month, last: date) -> tuple[bool, str]:
    """Whether the month has a B release or a preview for this Windows, and if not, a sentence that says so."""
    name = release_name(windows_build)
    of_month = [update for update in ours if update.month == month]
    if kind == "preview":
        there = any(update.kind is UpdateKind.PREVIEW for update in of_month)
        return there, "" if there else f"no preview for {name} in {month}" + (" so far" if last < last_day(month) else "")
    security = (UpdateKind.CUMULATIVE, UpdateKind.CHECKPOINT)
    if any(update.kind in security and update.week is PatchWeek.B for update in of_month):
        return True, ""
    if last <= b_release(month):
        return False, f"the B release of {month} comes on {b_release(month)}"
    return False, f"no B release for {name} in {month}"


def _choose(ours: Sequence[FeedUpdate], base: _Base, previews: Month | None) -> tuple[list[FeedUpdate], list[SkippedUpdate]]:
    """The updates to install, in their order, and the others. `previews`: of which month they are wanted; None: of any."""
    skipped: list[SkippedUpdate] = []
    left: list[FeedUpdate] = []
    for update in ours:
        skip = _unfit(update, base, previews)
        if skip is None:
            left.append(update)
        else:
            skipped.append(skip)
    newer = _replacements(left)
    for update in left:
        if by := newer.get(update.kb):
            skipped.append(SkippedUpdate(kb=update.kb, why="superseded", by=by, text=f"replaced by {by}"))
    chosen = [update for update in left if update.kb not in newer]
    return sorted(chosen, key=_install_order), sorted(skipped, key=lambda each: each.kb)


def _unfit(update: FeedUpdate, base: _Base, previews: Month | None) -> SkippedUpdate | None:
    """Why the update is not for this base at all, None when it is."""
    found = _of_another_sort(update, previews) or _contained(update, base)
    return SkippedUpdate(kb=update.kb, why=found[0], text=found[1]) if found else None


def _of_another_sort(update: FeedUpdate, previews: Month | None) -> tuple[SkipReason, str] | None:
    inbox = INBOX_DOTNET.get(update.windows_build)
    named = {version for product in update.products for version in dotnet_versions(product)}
    match update.kind:
        case UpdateKind.HOTPATCH:
            return "hotpatch", "for machines that are enrolled for hotpatches, which our images are not"
        case UpdateKind.MONTHLY_ROLLUP | UpdateKind.OTHER:
            return "other", f"of the kind {update.kind}, which the build does not install"
        case UpdateKind.DOTNET if inbox and named and inbox not in named:
            return "other", f"for .NET Framework {', '.join(sorted(named))}, this Windows comes with {inbox}"
        case UpdateKind.PREVIEW if previews is not None and update.month != previews:
            return "preview", "optional preview of another month" if previews else "optional preview"
    return None


def _contained(update: FeedUpdate, base: _Base) -> tuple[SkipReason, str] | None:
    if update.fixed_build is not None:
        if build_numbers(update.fixed_build) <= base.numbers:
            return "in-base", f"already in the base, which is at {'.'.join(map(str, base.numbers))}"
    elif update.cumulative:
        return "other", "without a build in the feed"
    elif update.released <= base.updated:
        return "in-base", f"already in the base, which was updated on {base.updated}"
    return None


def _replacements(left: Sequence[FeedUpdate]) -> dict[str, str]:
    """KB → the KB that replaces it, among updates that would do."""
    newer = replaced_by({update.kb: update.supersedes for update in left if update.kind is UpdateKind.DOTNET})
    stacks = [update for update in left if update.kind is UpdateKind.SERVICING_STACK]
    if stacks:
        newest = max(stacks, key=lambda update: (update.released, update.kb))
        newer |= {update.kb: newest.kb for update in stacks if update is not newest}
    cumulative = [update for update in left if update.cumulative]
    if cumulative:
        target = max(cumulative, key=_brings)
        # Later updates are differences to the newest checkpoint before them: checkpoints stay.
        newer |= {update.kb: target.kb for update in cumulative if update is not target and update.kind is not UpdateKind.CHECKPOINT}
    return newer


def _brings(update: FeedUpdate) -> tuple[int, ...]:
    return build_numbers(update.fixed_build) if update.fixed_build else ()


def _install_order(update: FeedUpdate) -> tuple[int, tuple[int, ...], date, str]:
    # Cumulative ones go by their build: the newest may be a checkpoint itself, and a preview may come before one.
    rank = UpdateKind.CHECKPOINT if update.cumulative else update.kind
    return _ORDER.index(rank), _brings(update), update.released, update.kb
