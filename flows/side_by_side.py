"""Runs the builds of several images at the same time, each as a run of its own below the current one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any

from prefect.context import FlowRunContext

from images.errors import BuildError, ImagesFailedError
from images.lock import ImageLock
from images.updates.feed import FeedUpdate
from tasks.build import SharedRun, shared_run
from tasks.progress import run_logger


@dataclass(frozen=True)
class ImageOutcome:
    """What became of one image: its result, or the error that ended it."""

    image: str
    result: dict[str, Any] | None = None
    error: BuildError | None = None

    def row(self) -> dict[str, Any]:
        """What a table says of it."""
        result = self.result or {}
        outcome = "failed" if self.error is not None else "unchanged" if result.get("unchanged") else "built"
        return {
            "image": self.image,
            "outcome": outcome,
            "version": result.get("image_version", ""),
            "Windows": result.get("os_version", ""),
            "seconds": result.get("seconds", ""),
            "VHD or reason": self.error.what.splitlines()[0] if self.error is not None else result.get("vhd_url", ""),
        }


def side_by_side(
    builds: Mapping[str, Callable[[], dict[str, Any]]], *, locks: Mapping[str, ImageLock] | None = None, feed: Sequence[FeedUpdate] = ()
) -> list[ImageOutcome]:
    """The outcome of every image, in the order given; a BuildError of one does not stop the others.

    `locks` take the place of those that lie beside the definitions, by image; `feed` is what the release notes know of updates.

    The builds share what a run shares: its id, its stop, and which common layers turned out to be broken. Anything but a BuildError (a
    cancelled run, a fault of the program) stops them all at once and is raised when they have ended.
    """
    context = FlowRunContext.get()
    flow_run = context.flow_run if context is not None else None
    run = SharedRun(root_id=flow_run.id if flow_run is not None else None, locks=dict(locks or {}), feed=tuple(feed))
    token = shared_run.set(run)
    try:
        with ThreadPoolExecutor(max(len(builds), 1), thread_name_prefix="image") as pool:
            names = {pool.submit(copy_context().run, build): name for name, build in builds.items()}
            try:
                outcomes = {names[future]: _outcome(names[future], future) for future in as_completed(names)}
                return [outcomes[name] for name in builds]
            except BaseException:
                # Leaving the pool waits for them: they clean up after themselves, and soon.
                run.stop()
                raise
    finally:
        shared_run.reset(token)


def raise_failures(outcomes: list[ImageOutcome]) -> None:
    """Raise ImagesFailedError naming the images that could not be built, each with its reason; nothing when there are none."""
    failures = {outcome.image: outcome.error for outcome in outcomes if outcome.error is not None}
    if failures:
        raise ImagesFailedError(failures, total=len(outcomes))


def _outcome(name: str, future: Future[dict[str, Any]]) -> ImageOutcome:
    try:
        return ImageOutcome(name, result=future.result())
    except BuildError as error:
        run_logger().error("%s: %s", name, error)
        return ImageOutcome(name, error=error)
