"""The locks of several definitions, resolved anew for a monthly run."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime

from images.definition import FollowedUpdates
from images.errors import BuildError
from images.lock import ImageLock
from infra.azure.session import Cloud
from infra.git.lock_patch import ChangedFile
from tasks.lock_change import lock_change
from tasks.lock_file import write_lock
from tasks.plan_images import ImageSource
from tasks.progress import run_logger
from tasks.refresh_lock import RefreshedLock, refresh_lock, refuse_alarms
from tasks.step_task import step_task
from tasks.upstream import Upstream

_PARALLEL = 4


@dataclass(frozen=True)
class MonthLocks:
    """What the definitions resolve to now, and why some of them can not be built from."""

    refreshed: dict[str, RefreshedLock] = field(default_factory=dict)
    errors: dict[str, BuildError] = field(default_factory=dict)

    @property
    def locks(self) -> dict[str, ImageLock]:
        """The new lock of each image that may be built."""
        return {name: refreshed.new for name, refreshed in self.refreshed.items()}

    def changed_files(self, images: Collection[str]) -> list[ChangedFile]:
        """The lock files of these images that differ from those that are there, by their paths in the repository."""
        changed = [lock_change(refreshed) for name, refreshed in self.refreshed.items() if name in images]
        return [file for file in changed if file.old != file.new]


@step_task("refresh-locks", "Resolve the locks anew")
def refresh_locks(
    cloud: Cloud, sources: Sequence[ImageSource], upstream: Upstream, *, follow: FollowedUpdates, feed: str, as_of: datetime
) -> MonthLocks:
    """The locks of these definitions at a time, nothing written.

    A definition that can not be locked, or whose files changed under their URLs, is among the errors and does not stop the others.
    """
    found = MonthLocks()

    def refreshed(source: ImageSource) -> RefreshedLock | BuildError:
        try:
            lock = refresh_lock(source.definition, source.file, cloud, feed_source=feed, as_of=as_of, follow=follow, upstream=upstream)
            refuse_alarms(lock.difference)
        except BuildError as error:
            return error
        return lock

    with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="lock") as pool:
        for source, result in zip(sources, pool.map(refreshed, sources), strict=True):
            name = source.definition.name
            if isinstance(result, BuildError):
                run_logger().error("%s can not be locked: %s", name, result)
                found.errors[name] = result
            else:
                run_logger().info("%s: %d changes of the lock", name, len(result.difference.changes))
                found.refreshed[name] = result
    return found


def keep_local_locks(cloud: Cloud, locks: MonthLocks, images: Iterable[str]) -> None:
    """Let the stand-in's locks of these images move: they are nobody's to review. Public ones wait for a person.

    Raises ConfigurationError when they can not be written.
    """
    if cloud.profile.name == "local":
        for image in images:
            write_lock(locks.refreshed[image].new, locks.refreshed[image].path)
