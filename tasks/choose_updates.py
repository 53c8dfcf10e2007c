"""The updates that a lock holds: those that the definition lists, and those that it follows in the update feed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from images.definition import FollowedUpdates, ImageDefinition, Update
from images.updates.feed import FeedUpdate, UpdateKind, build_numbers
from images.updates.patch_week import Month, b_release, month_of, months_until, pacific_day
from images.updates.selection import Selection, SkippedUpdate, select_updates
from images.updates.update_note import UpdateNote
from images.updates.wanted import refuse_foreign
from infra.azure.session import Cloud
from tasks.locate_updates import locate_updates
from tasks.read_feed import MSRC
from tasks.upstream import Upstream

MOST_MONTHS: Final = 13
"""No base image is so old that its newest updates are not among those of a year; they hold all that came before."""


@dataclass(frozen=True)
class UpdateSource:
    """One update to lock: where its file is (None: the Windows Update agent installs it by KB), and what is promised of it."""

    kb: str
    url: str | None
    sha256: str | None
    build: str | None
    preview: bool = False
    checkpoint: bool = False


@dataclass(frozen=True)
class ChosenUpdates:
    """The updates to lock, in the order of their installation, and a note for each that is left out."""

    updates: tuple[UpdateSource, ...]
    notes: tuple[UpdateNote, ...]


def choose_updates(
    definition: ImageDefinition,
    cloud: Cloud,
    base_version: str,
    upstream: Upstream,
    *,
    follow: FollowedUpdates | None = None,
    feed_source: str = MSRC,
    as_of: datetime,
) -> ChosenUpdates:
    """The updates for a base version (build.UBR.YYMMDD) at a time; `follow` takes the place of what the definition follows.

    The feed is read only when something is followed. The definition's own updates come first. Raises FeedError when the feed or the Update
    Catalog is down or malformed, or the catalog has no file of an update, and DefinitionError when a feed file is wrong, or the definition
    lists an update that the feed knows for another Windows only.
    """
    follow = definition.follow_updates if follow is None else follow
    if follow is FollowedUpdates.NONE:
        return ChosenUpdates(tuple(_listed(update) for update in definition.updates), ())
    feed = upstream.feed(feed_source, _months(base_version, as_of))
    refuse_foreign(feed, [update.kb for update in definition.updates], int(base_version.split(".", 1)[0]))
    selection = _selected(feed, base_version, follow, as_of)
    skipped = {each.kb: each for each in selection.skipped if each.why in ("superseded", "in-base")}
    listed = [_listed(update) for update in definition.updates if update.kb not in skipped]
    # MSRC names no files, and a checkpoint only where it is new; the Update Catalog knows both. A feed file says itself what it means.
    updates = locate_updates(cloud, selection, feed) if feed_source == MSRC else selection.updates
    target = max((update for update in updates if update.cumulative), key=_brings, default=None)
    followed = [_followed(update, checkpoint=update.cumulative and update is not target) for update in updates]
    return ChosenUpdates(tuple(_merged(listed, followed)), tuple(_notes(definition, selection, skipped, followed)))


def _listed(update: Update) -> UpdateSource:
    return UpdateSource(update.kb, update.url, None, update.build)


def _months(base_version: str, as_of: datetime) -> tuple[Month, ...]:
    """The months from the base's own, which its version tells, to that of the time; a year's at most."""
    last = MOST_MONTHS
    months = months_until(month_of(pacific_day(as_of)), last)
    try:
        made = month_of(datetime.strptime(base_version.rpartition(".")[2], "%y%m%d").replace(tzinfo=UTC).date())
    except ValueError:
        return months
    return tuple(month for month in months if month >= made) or months[-1:]


def _selected(feed: Sequence[FeedUpdate], base_version: str, follow: FollowedUpdates, as_of: datetime) -> Selection:
    build = int(base_version.split(".", 1)[0])
    if follow is not FollowedUpdates.PREVIEW:
        return select_updates(feed, build, base_version, kind="b-week", as_of=as_of)
    month = month_of(pacific_day(as_of))
    now = select_updates(feed, build, base_version, kind="preview", as_of=as_of, month=month)
    if pacific_day(as_of) >= b_release(month):
        return now
    # Until this month's B release, last month's preview is the newest there is, unless a fix came out of band meanwhile.
    before = select_updates(feed, build, base_version, kind="preview", as_of=as_of, month=months_until(month, 2)[0])
    return max(before, now, key=lambda selection: build_numbers(selection.target_build))


def _brings(update: FeedUpdate) -> tuple[int, ...]:
    return build_numbers(update.fixed_build) if update.fixed_build else ()


def _followed(update: FeedUpdate, *, checkpoint: bool) -> UpdateSource:
    preview = update.kind is UpdateKind.PREVIEW
    return UpdateSource(update.kb, update.url, update.sha256, update.fixed_build, preview=preview, checkpoint=checkpoint)


def _merged(listed: Sequence[UpdateSource], followed: Sequence[UpdateSource]) -> Iterator[UpdateSource]:
    """Each KB once: what the definition says of it goes before what the feed says, and the feed fills in the rest."""
    of_feed = {source.kb: source for source in followed}
    done: set[str] = set()
    for source in (*listed, *followed):
        if source.kb in done:
            continue
        done.add(source.kb)
        known = of_feed.get(source.kb)
        if known is None or known is source:
            yield source
        else:
            # The feed's hash is of the feed's file: it says nothing of another URL in the definition.
            sha256 = known.sha256 if source.url in (None, known.url) else None
            yield replace(
                source,
                url=source.url or known.url,
                sha256=sha256,
                build=source.build or known.build,
                preview=known.preview,
                checkpoint=known.checkpoint,
            )


def _notes(
    definition: ImageDefinition, selection: Selection, skipped: Mapping[str, SkippedUpdate], followed: Sequence[UpdateSource]
) -> Iterator[UpdateNote]:
    if selection.reason:
        yield UpdateNote(text=selection.reason)
    asked_for = {update.kb for update in definition.updates}
    taken = {source.kb for source in followed}
    for each in selection.skipped:
        if each.kb in taken:
            # A checkpoint that a newer update replaces and yet builds on.
            continue
        listed = " (the definition lists it)" if each.kb in asked_for and each.kb in skipped else ""
        yield UpdateNote(kb=each.kb, text=f"left out{listed}, {each.text}")
    for source in followed:
        if source.url is None:
            yield UpdateNote(kb=source.kb, text="without a file that could be pinned, installed by number through the Windows Update agent")
