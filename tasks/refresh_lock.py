"""A lock resolved anew, beside the one that is there: what moved, and what must not have. Nothing is written here."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from images.definition import FollowedUpdates, ImageDefinition
from images.errors import UnresolvedLockError, UpstreamChangedError
from images.lock import ImageLock, LockOrigin
from images.lock_acceptance import with_acceptance
from images.lock_diff import LockDifference, compare_locks
from images.updates.update_note import UpdateNote
from infra.azure.session import Cloud
from tasks.lock_file import lock_path, read_lock
from tasks.make_lock import resolve_definition
from tasks.read_feed import MSRC
from tasks.upstream import Upstream


@dataclass(frozen=True)
class RefreshedLock:
    """The lock that is there (None without one), the one that should be, and what is different.

    `notes` say why updates of the feed are left out; `path` is where the lock lies.
    """

    old: ImageLock | None
    new: ImageLock
    difference: LockDifference
    notes: tuple[UpdateNote, ...]
    path: Path


def refresh_lock(
    definition: ImageDefinition,
    file: Path,
    cloud: Cloud,
    *,
    accept: Collection[str] = frozenset(),
    feed_source: str = MSRC,
    as_of: datetime,
    follow: FollowedUpdates | None = None,
    upstream: Upstream | None = None,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> RefreshedLock:
    """What the definition in a file resolves to at a time, compared with its lock; `accept` holds the new sha256 of files that may change,
    and `follow` takes the place of what the definition follows in the update feed. Whoever refreshes several locks gives all the same
    `upstream`, since the images share most of what is read there.

    Changes that nobody accepted are in `difference.alarms`: whoever writes or builds calls `refuse_alarms` before. Raises
    UnresolvedLockError for a public lock that can not be read as one, since nothing could be compared with it, and what
    `resolve_definition` raises.
    """
    origin = LockOrigin.STAND_IN if cloud.profile.name == "local" else LockOrigin.PUBLIC
    path = lock_path(file, origin)
    old = _present_lock(path, origin)
    resolved = resolve_definition(
        definition, cloud, origin, as_of=as_of, follow=follow, feed_source=feed_source, old=old, upstream=upstream, progress=progress
    )
    new = with_acceptance(old, resolved.lock, accept)
    return RefreshedLock(old, new, compare_locks(old, new), resolved.notes, path)


def refuse_alarms(difference: LockDifference) -> None:
    """Raises UpstreamChangedError when a file changed under its unchanged URL and nobody accepted it."""
    alarms = difference.alarms
    if alarms:
        hashes = " ".join(f"--accept {change.new.digest}" for change in alarms if change.new)
        raise UpstreamChangedError(
            f"{difference.image}: {len(alarms)} {'files are' if len(alarms) > 1 else 'file is'} not what was locked",
            changes=[
                f"{change.name}: sha256 {change.old.digest if change.old else ''}, now {change.new.digest if change.new else ''}"
                for change in alarms
            ],
            hint=f"ask the publisher why; only when the new bytes are right: winvhd lock {difference.image} {hashes}",
            kept="the lock is as it was",
        )


def _present_lock(path: Path, origin: LockOrigin) -> ImageLock | None:
    """The lock that is there; None when there is none, or one of another origin, whose hashes are of other bytes."""
    if not path.exists():
        return None
    lock = read_lock(path)
    if lock is None and origin is LockOrigin.PUBLIC:
        raise UnresolvedLockError(
            "not a lock of this schema, so that nobody can tell what changed", where=str(path), hint="restore it from git, or delete it"
        )
    return lock if lock is not None and lock.origin is origin else None
