"""What a person accepted of the bytes that changed under an unchanged URL: the new lock says so, and so does its diff in git."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from images.lock import ImageLock, LockedFile
from images.lock_diff import UNRESOLVED, files_of


def with_acceptance(old: ImageLock | None, new: ImageLock, accept: Collection[str] = ()) -> ImageLock:
    """The new lock; each file whose bytes changed and whose new sha256 is in `accept` says which hash it `replaces`.

    An entry that was accepted before keeps its mark as long as its bytes stay.
    """
    before = {file.url: file for file in files_of(old)} if old else {}
    updates = tuple(
        update if update.file is None else update.model_copy(update={"file": _marked(update.file, before, accept)})
        for update in new.updates
    )
    return new.model_copy(update={"updates": updates, "files": tuple(_marked(file, before, accept) for file in new.files)})


def _marked(file: LockedFile, before: Mapping[str, LockedFile], accept: Collection[str]) -> LockedFile:
    was = before.get(file.url)
    if was is None or was.sha256 == UNRESOLVED:
        return file
    if was.sha256 == file.sha256:
        return file.model_copy(update={"replaces": was.replaces})
    return file.model_copy(update={"replaces": was.sha256}) if file.sha256 in accept else file
