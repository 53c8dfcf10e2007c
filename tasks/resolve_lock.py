"""The lock of a definition: the committed one for Azure, one made on the fly for the stand-in."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import yaml
from pydantic import ValidationError

from images.definition import ImageDefinition
from images.errors import ArtifactError, ConfigurationError, UnresolvedLockError
from images.loading import definition_digest
from images.lock import ImageLock, LockedFile, LockedUpdate, LockOrigin
from infra.azure.marketplace import resolve_version
from infra.azure.session import Cloud
from infra.checkout import output_folder
from infra.fetch.http import hash_url, make_client
from infra.fetch.registry import Registry

PARALLEL = 8


def lock_path(definition_file: Path, origin: LockOrigin) -> Path:
    """Where a definition's lock lies: beside it when it is public, below out/ when it holds the stand-in's hashes."""
    folder = definition_file.parent if origin is LockOrigin.PUBLIC else output_folder() / "locks"
    return folder / f"{definition_file.stem}.lock.yaml"


def resolve_lock(
    definition: ImageDefinition, file: Path, cloud: Cloud, *, progress: Callable[[str, int, int], None] = lambda *_: None
) -> ImageLock:
    """A lock that fits the definition in a file and this cloud.

    Raises UnresolvedLockError (no lock, for another definition, from the stand-in, hashes missing), ArtifactError (the stand-in's
    origin can not give a file, or gives another one than the definition promises) and ConfigurationError (the lock's file can not
    be read or written).
    """
    if cloud.profile.name == "azure":
        return usable_public_lock(definition, lock_path(file, LockOrigin.PUBLIC))
    path = lock_path(file, LockOrigin.STAND_IN)
    lock = _read(path) if path.exists() else None
    if lock is None or lock.definition_sha256 != definition_digest(definition) or not _still_served(lock, cloud):
        lock = make_lock(definition, cloud, LockOrigin.STAND_IN, progress=progress)
        write_lock(lock, path)
    return lock


def _still_served(lock: ImageLock, cloud: Cloud) -> bool:
    """False when the stand-in was made anew since: its registry serves a blob only once it was asked for the manifest."""
    with make_client() as client:
        registry = Registry(client, cloud.profile.route, first_wait_s=cloud.profile.poll_interval_s)
        return all(registry.lock_artifact(artifact.reference) == artifact for artifact in lock.oci_artifacts)


def write_lock(lock: ImageLock, path: Path) -> None:
    """Write a lock as YAML, replacing the old one as a whole; raises ConfigurationError when it can not be written."""
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(yaml.safe_dump(lock.model_dump(mode="json"), sort_keys=False, width=200), encoding="utf-8")
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise ConfigurationError(
            f"the lock can not be written: {error.strerror or error}",
            where=str(path),
            hint="is its folder writable, and the disk not full?",
        ) from error


def _read(path: Path) -> ImageLock | None:
    try:
        return ImageLock.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (ValidationError, yaml.YAMLError, UnicodeDecodeError):
        return None
    except OSError as error:
        raise ConfigurationError(
            f"the lock can not be read: {error.strerror or error}", where=str(path), hint="it must be a file that this user may read"
        ) from error


def usable_public_lock(definition: ImageDefinition, path: Path) -> ImageLock:
    """The committed lock, checked against everything that a real build needs; raises UnresolvedLockError and ConfigurationError."""
    hint = f"run `winvhd lock {definition.name} --profile azure` on a machine with Internet access, and commit {path.name}"
    if not path.exists():
        raise UnresolvedLockError(f"{definition.name} has no lock", where=str(path), hint=hint)
    lock = _read(path)
    if lock is None:
        raise UnresolvedLockError("not a lock of this schema", where=str(path), hint=hint)
    if lock.origin is not LockOrigin.PUBLIC:
        raise UnresolvedLockError("this lock holds hashes of the stand-in's scaled-down files", where=str(path), hint=hint)
    if lock.definition_sha256 != definition_digest(definition):
        raise UnresolvedLockError("the definition has changed since it was locked", where=str(path), hint=hint)
    files = [*lock.files, *(update.file for update in lock.updates if update.file)]
    missing = [file.url for file in files if file.sha256 == "unresolved"]
    missing += [image.reference for image in lock.container_images if image.digest == "unresolved"]
    missing += [artifact.reference for artifact in lock.oci_artifacts if artifact.digest == "unresolved"]
    if missing:
        raise UnresolvedLockError(f"{len(missing)} entries have no hash yet, first {missing[0]}", where=str(path), hint=hint)
    return lock


def make_lock(
    definition: ImageDefinition, cloud: Cloud, origin: LockOrigin, *, progress: Callable[[str, int, int], None] = lambda *_: None
) -> ImageLock:
    """Resolve every URL, tag and version of a definition, several at once; raises ArtifactError and CloudError."""
    profile = cloud.profile
    urls = [package.url for package in definition.packages]
    if definition.container_runtime is not None:
        urls.insert(0, definition.container_runtime.url)
    urls = list(dict.fromkeys(urls))
    wanted = definition.base
    with make_client() as client, ThreadPoolExecutor(PARALLEL) as pool:
        registry = Registry(client, profile.route, first_wait_s=profile.poll_interval_s)

        def hashed(url: str) -> LockedFile:
            return hash_url(client, url, profile.route(url), first_wait_s=profile.poll_interval_s)

        base = pool.submit(resolve_version, cloud, wanted.publisher, wanted.offer, wanted.sku, wanted.version)
        updates = [pool.submit(hashed, update.url) if update.url else None for update in definition.updates]
        images = [pool.submit(registry.lock_image, reference) for reference in definition.container_images]
        artifacts = [pool.submit(registry.lock_artifact, artifact.reference) for artifact in definition.oci_artifacts]
        files = []
        for number, file in enumerate(pool.map(hashed, urls), 1):
            progress(file.url.rsplit("/", 1)[-1], number, len(urls))
            files.append(file)
        lock = ImageLock(
            image=definition.name,
            origin=origin,
            definition_sha256=definition_digest(definition),
            base_version=base.result(),
            updates=tuple(
                LockedUpdate(kb=update.kb, file=pending.result() if pending else None, build=update.build)
                for update, pending in zip(definition.updates, updates, strict=True)
            ),
            files=tuple(files),
            container_images=tuple(image.result() for image in images),
            oci_artifacts=tuple(artifact.result() for artifact in artifacts),
        )
    _check_promised_hashes(definition, lock)
    return lock


def _check_promised_hashes(definition: ImageDefinition, lock: ImageLock) -> None:
    found = {file.url: file.sha256 for file in lock.files}
    for package in definition.packages:
        if package.sha256 is not None and found[package.url] != package.sha256:
            raise ArtifactError(
                f"{package.name}: its bytes have sha256 {found[package.url]}, the definition promises {package.sha256}",
                where=f"package {package.url.partition('?')[0]}",
                hint="find out why the file changed before you accept the new hash",
            )
