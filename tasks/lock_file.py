"""A definition's lock as a file: where it lies, reading and writing it, and whether a real build may use it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import yaml
from pydantic import ValidationError

from images.definition import ImageDefinition
from images.errors import ConfigurationError, UnresolvedLockError
from images.loading import definition_digest
from images.lock import ImageLock, LockOrigin
from images.lock_diff import UNRESOLVED, files_of
from infra.checkout import output_folder

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's where PyYAML was built with it: a lock of 30 KB takes it 4 ms instead of 80."""


def lock_path(definition_file: Path, origin: LockOrigin) -> Path:
    """Where a definition's lock lies: beside it when it is public, below out/ when it holds the stand-in's hashes."""
    folder = definition_file.parent if origin is LockOrigin.PUBLIC else output_folder() / "locks"
    return folder / f"{definition_file.stem}.lock.yaml"


def render_lock(lock: ImageLock) -> str:
    """The lock as YAML; the same lock always gives the same bytes."""
    return yaml.safe_dump(lock.model_dump(mode="json", exclude_none=True), sort_keys=False, width=200)


def write_lock(lock: ImageLock, path: Path) -> None:
    """Write a lock as YAML, replacing the old one as a whole; raises ConfigurationError when it can not be written."""
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(render_lock(lock), encoding="utf-8")
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise ConfigurationError(
            f"the lock can not be written: {error.strerror or error}",
            where=str(path),
            hint="is its folder writable, and the disk not full?",
        ) from error


def read_lock(path: Path) -> ImageLock | None:
    """The lock in a file, None when the file holds none of this schema; raises ConfigurationError when it can not be read."""
    try:
        return ImageLock.model_validate(yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER))  # noqa: S506
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
    lock = read_lock(path)
    if lock is None:
        raise UnresolvedLockError("not a lock of this schema", where=str(path), hint=hint)
    if lock.origin is not LockOrigin.PUBLIC:
        raise UnresolvedLockError("this lock holds hashes of the stand-in's scaled-down files", where=str(path), hint=hint)
    if lock.definition_sha256 != definition_digest(definition):
        raise UnresolvedLockError("the definition has changed since it was locked", where=str(path), hint=hint)
    missing = [file.url for file in files_of(lock) if file.sha256 == UNRESOLVED]
    missing += [image.reference for image in lock.container_images if image.digest == UNRESOLVED]
    missing += [artifact.reference for artifact in lock.oci_artifacts if artifact.digest == UNRESOLVED]
    if missing:
        raise UnresolvedLockError(f"{len(missing)} entries have no hash yet, first {missing[0]}", where=str(path), hint=hint)
    return lock
