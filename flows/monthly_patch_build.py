"""The monthly run: every image with the month's updates, built, tested and compared with its release before. It publishes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.build_image import build_image
from flows.choices import CloudName, ImageChoice, ReleaseKind, monthly_run_name
from flows.release_moment import AsOf, release_moment
from flows.side_by_side import ImageOutcome, raise_failures, side_by_side
from images.definition import FollowedUpdates
from images.loading import definition_names
from images.updates.feed import FeedUpdate
from images.updates.month_report import MonthReport
from images.updates.patch_week import month_of, months_until, pacific_day
from infra.azure.session import open_cloud
from infra.prefect.git_credentials import git_remote
from infra.profiles import load_profile
from tasks.choose_updates import MOST_MONTHS
from tasks.monthly_turn import monthly_turn
from tasks.plan_images import ImageSource, image_sources
from tasks.propose_locks import propose_locks
from tasks.read_feed import MSRC
from tasks.refresh_locks import MonthLocks, keep_local_locks, refresh_locks
from tasks.release_resources import release_resources
from tasks.show_month import month_row, show_month
from tasks.upstream import Upstream


@flow(
    name="monthly-patch-build",
    flow_run_name=monthly_run_name,
    description="Resolves every lock anew, builds and tests the images that changed, compares them with the release before.",
    on_cancellation=[release_resources],
    on_crashed=[release_resources],
)
def monthly_patch_build(
    kind: ReleaseKind = "b-week",
    images: Sequence[ImageChoice] = (),
    cloud: CloudName = "local",
    feed: str = MSRC,
    git_credentials: str = "",
    as_of: AsOf = "",
) -> State[dict[str, Any]]:
    """Build what the month's updates change, test it, and propose it for publication; never publishes by itself.

    The run ends Completed with "nothing changed", and without any VM, when every image was built like this before. Nothing is built
    when the feed can not be used. An image that fails, or whose files are not what was locked, does not stop the others.

    Args:
        kind: Which updates. b-week takes those of the second Tuesday, preview also the optional previews of the two weeks after it.
        images: The definitions to build (images/definitions). None chosen means all of them.
        cloud: Where to build them. local is the stand-in cloud on the worker's machine, azure your subscription.
        feed: Where the updates are listed. msrc is Microsoft's own feed, else the path of a feed file on the worker's machine
            (docs/update-feed.md). Microsoft's feed has no previews.
        git_credentials: Name of a block of type Git credentials (Blocks). With it the locks that moved are pushed as a branch.
            Empty leaves them as a patch file, out/monthly/MONTH-KIND-TIME.patch on the worker's machine.
        as_of: The day whose month is built, and after which nothing counts as released, for example 2026-08-12 (in Redmond); or a moment,
            2026-08-12T10:00:00-07:00, UTC without a zone. Empty for now.
    """
    moment = release_moment(as_of)
    month = month_of(pacific_day(moment))
    sources = image_sources([str(image) for image in images] or definition_names())
    with open_cloud(load_profile(cloud)) as session, monthly_turn(session, month, kind) as turn:
        if not turn.is_ours:
            return Completed(name="Skipped", message=f"run {turn.holder} is at work on {month} {kind}", data={"skipped": turn.holder})
        if git_credentials:
            # A block that is missing is told now, not after hours of building.
            git_remote(git_credentials)
        upstream = Upstream(session)
        known = upstream.feed(feed, months_until(month, MOST_MONTHS))
        locks = refresh_locks(session, sources, upstream, follow=FollowedUpdates(kind), feed=feed, as_of=moment)
        outcomes = _built(sources, cloud, locks, known)
        rows = [month_row(outcome.image, outcome.result, outcome.error, locks.refreshed.get(outcome.image), known) for outcome in outcomes]
        report = MonthReport(month=month, kind=kind, made=datetime.now(UTC), rows=tuple(rows))
        # A run that was paused for longer than its lease must not propose beside the one that took its place.
        turn.must_be_held()
        proposal = propose_locks(report, locks, git_credentials)
        show_month(session, report, proposal)
        keep_local_locks(session, locks, [row.image for row in rows if row.outcome != "failed"])
        raise_failures(outcomes)
        if proposal.error is not None:
            raise proposal.error
    result = {"month": month, "kind": kind, "summary": report.summary(), "rows": [row.cells() for row in report.rows], **proposal.result()}
    if len(report.of("unchanged")) == len(report.rows):
        return Completed(name="Nothing changed", message="nothing changed", data=result)
    return Completed(message=report.summary(), data=result)


def _built(sources: tuple[ImageSource, ...], cloud: CloudName, locks: MonthLocks, known: tuple[FeedUpdate, ...]) -> list[ImageOutcome]:
    """The outcome of every image, in the order of the sources; those that could not be locked are not built."""
    builds = {
        source.definition.name: partial(build_image, ImageChoice(source.file), cloud, "", "changed")
        for source in sources
        if source.definition.name in locks.refreshed
    }
    outcomes = {name: ImageOutcome(name, error=error) for name, error in locks.errors.items()}
    outcomes |= {outcome.image: outcome for outcome in side_by_side(builds, locks=locks.locks, feed=known)}
    return [outcomes[source.definition.name] for source in sources]
