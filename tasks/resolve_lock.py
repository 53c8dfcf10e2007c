"""The lock that a build uses: the committed one for Azure, one made on the fly for the stand-in."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from images.definition import ImageDefinition
from images.errors import ArtifactError
from images.loading import definition_digest
from images.lock import ImageLock, LockOrigin
from infra.azure.session import Cloud
from infra.fetch.http import make_client
from infra.fetch.registry import Registry, split_reference
from tasks.lock_file import lock_path, read_lock, usable_public_lock, write_lock
from tasks.make_lock import make_lock
from tasks.refresh_lock import refresh_lock, refuse_alarms

__all__ = ["lock_path", "make_lock", "resolve_lock", "usable_public_lock", "write_lock"]

_ASKED_AT_ONCE = 4


def resolve_lock(
    definition: ImageDefinition, file: Path, cloud: Cloud, *, progress: Callable[[str, int, int], None] = lambda *_: None
) -> ImageLock:
    """A lock that fits the definition in a file and this cloud; one that fits already stays, whatever moved upstream since.

    Raises UnresolvedLockError (no lock, for another definition, from the stand-in, hashes missing), ConfigurationError (the lock's file can
    not be read or written) and, where the stand-in's lock is made, UpstreamChangedError (a file is not what it was under the same URL)
    and what `refresh_lock` raises.
    """
    if cloud.profile.name == "azure":
        return usable_public_lock(definition, lock_path(file, LockOrigin.PUBLIC))
    path = lock_path(file, LockOrigin.STAND_IN)
    lock = read_lock(path) if path.exists() else None
    if lock is not None and lock.definition_sha256 == definition_digest(definition) and _still_served(lock, cloud):
        return lock
    refreshed = refresh_lock(definition, file, cloud, as_of=datetime.now(UTC), progress=progress)
    refuse_alarms(refreshed.difference)
    write_lock(refreshed.new, path)
    return refreshed.new


def _still_served(lock: ImageLock, cloud: Cloud) -> bool:
    """False when the stand-in's registry can not give a digest of the lock, which it knows once it was asked for a tag that points at it.

    A stand-in that was made anew is asked for the tags: they still point there unless its date is another one.
    """
    pinned = [(image.reference, image.digest) for image in lock.container_images]
    pinned += [(artifact.reference, artifact.digest) for artifact in lock.oci_artifacts]
    with make_client() as client:
        registry = Registry(client, cloud.profile.route, first_wait_s=cloud.profile.poll_interval_s)
        with ThreadPoolExecutor(_ASKED_AT_ONCE, thread_name_prefix="registry") as pool:
            return all(pool.map(lambda pin: _has(registry, *pin), pinned))


def _has(registry: Registry, reference: str, digest: str) -> bool:
    name, repository, tag = split_reference(reference)
    with suppress(ArtifactError):
        registry.manifest(name, repository, digest)
        return True
    with suppress(ArtifactError):
        registry.manifest(name, repository, tag)
        registry.manifest(name, repository, digest)
        return True
    return False
