"""Files by their place in the lock: a plan holds hashes and tokens, never an address."""

from __future__ import annotations

from collections.abc import Iterator

from images.definition import ImageDefinition
from images.errors import UnresolvedLockError
from images.fingerprint import CACHE_SCHEME
from images.loading.definitions import definition_digest
from images.lock import ImageLock, LockedFile
from images.stages.content import SourceFile

RUNTIME_CACHE = "C:\\akse-cache\\containerd\\"
_SHOWN = 5


def usable_lock(definition: ImageDefinition, lock: ImageLock) -> None:
    """Raises UnresolvedLockError unless the lock belongs to this definition and pins every byte of it."""
    if lock.image != definition.name or lock.definition_sha256 != definition_digest(definition):
        raise UnresolvedLockError(
            f"the lock is of {lock.image}, as it was when it was locked, not of {definition.name} as it is now",
            hint=f"lock it again: winvhd lock {definition.name}",
        )
    open_ends = list(_unresolved(lock))
    if open_ends:
        more = f", and {len(open_ends) - _SHOWN} more" if len(open_ends) > _SHOWN else ""
        raise UnresolvedLockError(
            f"the lock of {definition.name} has no hash yet for {', '.join(open_ends[:_SHOWN])}{more}",
            hint=f"resolve it where the public sources can be reached: winvhd lock {definition.name}",
        )


def _unresolved(lock: ImageLock) -> Iterator[str]:
    updates = [update.file for update in lock.updates if update.file]
    yield from (file.url for file in (*lock.files, *updates) if file.sha256 == "unresolved")
    yield from (image.reference for image in lock.container_images if image.digest == "unresolved")
    yield from (artifact.reference for artifact in lock.oci_artifacts if artifact.digest == "unresolved")


def locked_file(lock: ImageLock, url: str) -> LockedFile:
    """The lock's entry for a URL; raises UnresolvedLockError when there is none."""
    for file in lock.files:
        if file.url == url:
            return file
    raise UnresolvedLockError(f"the lock of {lock.image} does not know {url}", hint=f"lock it again: winvhd lock {lock.image}")


def source_file(lock: ImageLock, url: str, path: str) -> SourceFile:
    """A public file for the guest: its token, its path on the guest, and the bytes that it must have."""
    file = locked_file(lock, url)
    return SourceFile(url=f"{CACHE_SCHEME}{file.sha256}", path=path, sha256=file.sha256, size_bytes=file.size_bytes)


def runtime_archive_path(definition: ImageDefinition) -> str:
    """Where the runtime's archive lies: at the place of the package with the same URL, else in the containerd cache."""
    runtime = definition.container_runtime
    if runtime is None:
        raise ValueError("the definition has no container runtime")
    for package in definition.packages:
        if package.url == runtime.url:
            return package.path
    return RUNTIME_CACHE + runtime.url.split("?", 1)[0].rsplit("/", 1)[-1]
