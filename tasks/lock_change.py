"""A refreshed lock as a changed file of the repository, for a patch and for a branch."""

from __future__ import annotations

from images.errors import ConfigurationError
from images.lock import LockOrigin
from infra.checkout import ROOT
from infra.git.lock_patch import ChangedFile
from tasks.lock_file import render_lock
from tasks.refresh_lock import RefreshedLock

_DEFINITIONS = "images/definitions"
_STAND_IN = "out/locks"


def lock_change(refreshed: RefreshedLock) -> ChangedFile:
    """The lock's file before and after, by its path in the repository; raises ConfigurationError when the old one can not be read.

    A lock of the stand-in is called after out/locks, where nobody takes it for a public one; so is one of a definition that lies elsewhere
    for images/definitions. Before is what is in the file, to the letter, so that the patch applies.
    """
    path = refreshed.path
    if refreshed.new.origin is LockOrigin.STAND_IN:
        name = f"{_STAND_IN}/{path.name}"
    elif path.resolve().is_relative_to(ROOT):
        name = path.resolve().relative_to(ROOT).as_posix()
    else:
        name = f"{_DEFINITIONS}/{path.name}"
    try:
        # Bytes, since reading as text would turn other line ends into \n.
        old = path.read_bytes().decode() if path.exists() else None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the lock can not be read: {error}", where=str(path), hint="restore it from git, or delete it") from error
    return ChangedFile(name, old, render_lock(refreshed.new))
