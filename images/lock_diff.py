"""What is different between two locks of one definition: what moved, and what must not have.

The line: a tag of a registry may move (`ltsc2022` does each month), and so may `latest` of the marketplace; the bytes behind the URL of a
file never change. Nobody can tell a publisher's careless upload from an attack by looking at hashes, so that every such change waits for
a person, who names the new hash.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from enum import StrEnum
from typing import Final

from pydantic import Field

from images.frozen import Frozen
from images.lock import ImageLock, LockedFile

UNRESOLVED: Final = "unresolved"
_SHOWN = 12
_EXACT_TAG = re.compile(r":[^/:]*\d+\.\d+\.\d+[^/:]*$")


class LockEntry(StrEnum):
    """The kinds of entries that a lock has."""

    BASE = "base"
    UPDATE = "update"
    FILE = "file"
    CONTAINER_IMAGE = "container image"
    OCI_ARTIFACT = "OCI artifact"


class ChangeKind(StrEnum):
    """How an entry changed."""

    MOVED = "moved"
    UPSTREAM_CHANGED = "changed-under-unchanged-url"
    ADDED = "added"
    REMOVED = "removed"


class Pin(Frozen):
    """What one lock says of an entry; a field that the kind does not have is None."""

    version: str | None = Field(default=None, description="Exact base version, an update's build.UBR, or a container image's os.version.")
    digest: str | None = Field(default=None, description="SHA-256 of a file in hexadecimal, or sha256:… of a manifest or index.")
    size_bytes: int | None = None
    preview: bool = Field(default=False, description="True for an optional preview update.")
    checkpoint: bool = Field(default=False, description="True for an update that only lies beside the one that builds on it.")

    def __str__(self) -> str:
        digest = self.digest and self.digest.removeprefix("sha256:")[:_SHOWN]
        marks = ["preview"] * self.preview + ["checkpoint"] * self.checkpoint
        size = f"{self.size_bytes:,} bytes" if self.size_bytes else None
        return ", ".join(part for part in (self.version, digest, size, *marks) if part)


class LockChange(Frozen):
    """One entry that the two locks do not share; `name` is a URN, a KB, a URL or a reference."""

    kind: ChangeKind
    entry: LockEntry
    name: str
    old: Pin | None
    new: Pin | None
    accepted: bool = Field(default=False, description="True when a person accepted the new bytes of an unchanged URL.")
    remark: str = ""

    @property
    def is_alarm(self) -> bool:
        """True for other bytes under an unchanged URL that nobody accepted."""
        return self.kind is ChangeKind.UPSTREAM_CHANGED and not self.accepted


class LockDifference(Frozen):
    """All changes from one lock of an image to the next, in the order of the lock; an image without a lock has everything added."""

    image: str
    first: bool = Field(default=False, description="True when there was no lock to compare with.")
    definition_changed: bool = Field(description="True when the definition itself is another one, or there was no lock.")
    changes: tuple[LockChange, ...]

    def __bool__(self) -> bool:
        return self.definition_changed or bool(self.changes)

    @property
    def alarms(self) -> tuple[LockChange, ...]:
        """Files whose bytes changed under an unchanged URL and that nobody accepted: nothing may be built from them."""
        return tuple(change for change in self.changes if change.is_alarm)

    def of(self, kind: ChangeKind) -> tuple[LockChange, ...]:
        """The changes of one kind."""
        return tuple(change for change in self.changes if change.kind is kind)


def compare_locks(old: ImageLock | None, new: ImageLock) -> LockDifference:
    """What changed from one lock to another; without an old one everything was added."""
    before, after = (_entries(old) if old else {}), _entries(new)
    accepted = {file.url for file in files_of(new) if file.replaces is not None}
    changes = []
    for (entry, name), pin in after.items():
        was = before.get((entry, name))
        if was is None:
            changes.append(LockChange(kind=ChangeKind.ADDED, entry=entry, name=name, old=None, new=pin))
        elif was != pin:
            changes.append(_changed(entry, name, was, pin, accepted))
    changes += [
        LockChange(kind=ChangeKind.REMOVED, entry=entry, name=name, old=pin, new=None)
        for (entry, name), pin in before.items()
        if (entry, name) not in after
    ]
    order = list(LockEntry)
    return LockDifference(
        image=new.image,
        first=old is None,
        definition_changed=old is None or old.definition_sha256 != new.definition_sha256,
        changes=tuple(sorted(changes, key=lambda change: order.index(change.entry))),
    )


def _changed(entry: LockEntry, name: str, was: Pin, pin: Pin, accepted: Collection[str]) -> LockChange:
    if entry is LockEntry.FILE and was.digest != UNRESOLVED:
        return LockChange(kind=ChangeKind.UPSTREAM_CHANGED, entry=entry, name=name, old=was, new=pin, accepted=name in accepted)
    tagged = entry in (LockEntry.CONTAINER_IMAGE, LockEntry.OCI_ARTIFACT)
    # Some publishers push a tag again when its base image was patched; a reader should know all the same.
    remark = "a tag that names an exact version moved" if tagged and was.digest != UNRESOLVED and _EXACT_TAG.search(name) else ""
    return LockChange(kind=ChangeKind.MOVED, entry=entry, name=name, old=was, new=pin, remark=remark)


def files_of(lock: ImageLock) -> Iterator[LockedFile]:
    """Every file of a lock that comes from a URL: of its updates, then its own."""
    yield from (update.file for update in lock.updates if update.file is not None)
    yield from lock.files


def _entries(lock: ImageLock) -> dict[tuple[LockEntry, str], Pin]:
    found = {(LockEntry.BASE, "version"): Pin(version=lock.base_version)}
    for update in lock.updates:
        found[LockEntry.UPDATE, update.kb] = Pin(version=update.build, preview=update.preview, checkpoint=update.checkpoint)
    for file in files_of(lock):
        found[LockEntry.FILE, file.url] = Pin(digest=file.sha256, size_bytes=file.size_bytes)
    for image in lock.container_images:
        pin = Pin(version=image.os_version, digest=image.digest, size_bytes=image.size_bytes)
        found[LockEntry.CONTAINER_IMAGE, image.reference] = pin
    for artifact in lock.oci_artifacts:
        size = sum(file.size_bytes for file in artifact.files)
        found[LockEntry.OCI_ARTIFACT, artifact.reference] = Pin(digest=artifact.digest, size_bytes=size)
    return found


def render_lines(difference: LockDifference) -> tuple[str, ...]:
    """The difference as lines of text: none when nothing changed, one for each kind of entry when there was no lock before.

    Alarms show whole hashes: a person names the new one to accept it.
    """
    if difference.first:
        return tuple(_summary(difference))
    lines = [
        f"{sign} {change.entry:<15} {change.name}{shown}{f'  ({change.remark})' if change.remark else ''}"
        for change in difference.changes
        for sign, shown in [_shown(change)]
    ]
    if difference.definition_changed and not difference.changes:
        lines.append("~ the definition changed, and everything it needs is pinned as before")
    return tuple(lines)


def _summary(difference: LockDifference) -> Iterator[str]:
    for entry in LockEntry:
        pins = [(change.name, change.new) for change in difference.changes if change.entry is entry and change.new]
        if entry in (LockEntry.BASE, LockEntry.UPDATE):
            yield from (f"+ {entry:<15} {name}{_behind(str(pin))}" for name, pin in pins)
        elif pins:
            yield f"+ {entry:<15} {len(pins)}, together {sum(pin.size_bytes or 0 for _, pin in pins):,} bytes"


def _shown(change: LockChange) -> tuple[str, str]:
    """The line's sign, and what stands behind the name."""
    match change.kind:
        case ChangeKind.ADDED:
            return "+", _behind(str(change.new))
        case ChangeKind.REMOVED:
            return "-", _behind(str(change.old))
        case ChangeKind.MOVED:
            return "~", f"  {change.old or 'nothing'} -> {change.new}"
        case ChangeKind.UPSTREAM_CHANGED:
            old, new = change.old or Pin(), change.new or Pin()
            state = "a person accepted it" if change.accepted else "NOT ACCEPTED"
            sizes = f"{old.size_bytes or 0:,} -> {new.size_bytes or 0:,} bytes"
            return "!", f"  changed under an unchanged URL, {state}\n    sha256 {old.digest} -> {new.digest}\n    {sizes}"


def _behind(text: str) -> str:
    return f"  {text}" if text else ""
