"""What `winvhd lock` prints: for each image what is different, the notes of the update feed, and what was written."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from typing import Any

import typer

from images.errors import BuildError, ConfigurationError, LockOutdatedError, UpstreamChangedError
from images.loading import definition_names
from images.lock_diff import render_lines
from images.updates.update_note import gather_notes
from tasks.refresh_lock import RefreshedLock

_SHA256 = re.compile(r"[0-9a-f]{64}")


def asked_for(images: Collection[str], *, every: bool) -> tuple[str, ...]:
    """The definitions to lock; wrong usage when none were named, or some beside --all."""
    if every == bool(images):
        raise typer.BadParameter(f"name the definitions to lock, or give --all; there are: {', '.join(definition_names())}")
    return definition_names() if every else tuple(dict.fromkeys(images))


def checked_hashes(accept: Collection[str]) -> frozenset[str]:
    """Hashes as --accept got them; wrong usage when a text is none."""
    hashes = frozenset(text.lower().removeprefix("sha256:") for text in accept)
    for text in hashes:
        if not _SHA256.fullmatch(text):
            raise typer.BadParameter(f"--accept wants the 64 hexadecimal digits that the alarm shows as new, not {text!r}")
    return hashes


class LockReport:
    """Collects the outcome of each image; `raise_worst` ends the command as the worst of them demands."""

    def __init__(self, *, check: bool, accept: frozenset[str], follow: str | None = None) -> None:
        self._check = check
        self._follow = follow
        self._accept = accept
        self._images: dict[str, RefreshedLock] = {}
        self._written: set[str] = set()
        self._errors: dict[str, BuildError] = {}

    def add(self, refreshed: RefreshedLock) -> None:
        """An image that was resolved."""
        self._images[refreshed.new.image] = refreshed

    def wrote(self, refreshed: RefreshedLock) -> None:
        """Its lock was written."""
        self._written.add(refreshed.new.image)

    def failed(self, image: str, error: BuildError) -> None:
        """An image that could not be resolved, or whose lock must not be written."""
        self._errors[image] = error

    def as_text(self) -> str:
        """The report for people."""
        return "".join(f"{line}\n" for line in self._lines())

    def _lines(self) -> Iterator[str]:
        for name, refreshed in self._images.items():
            difference = refreshed.difference
            if not difference:
                state = "is as it was"
            elif name in self._written:
                state = f"wrote {refreshed.path}"
            elif self._check and not difference.alarms:
                state = "is out of date" if refreshed.old else "has no lock"
            else:
                state = "is not written"
            yield f"{name}: {state}"
            yield from (f"  {line}" for line in render_lines(difference))
            yield from (f"  note: {note.sentence}" for note in gather_notes({name: refreshed.notes}))

    def as_json(self) -> str:
        """The report for programs: one object, `images` in the order in which they were asked for."""
        images: list[dict[str, Any]] = []
        for name, refreshed in self._images.items():
            difference = refreshed.difference
            images.append(
                {
                    "image": name,
                    "lock": str(refreshed.path),
                    "written": name in self._written,
                    "outdated": bool(difference),
                    "alarm": bool(difference.alarms),
                    "definition_changed": difference.definition_changed,
                    "changes": [change.model_dump(mode="json") for change in difference.changes],
                    "notes": [note.sentence for note in refreshed.notes],
                }
            )
        errors = [{"image": name, "error": type(error).__name__, "what": error.what} for name, error in self._errors.items()]
        return json.dumps({"images": images, "errors": errors}, indent=2) + "\n"

    def raise_worst(self) -> None:
        """Raises the worst that happened: an alarm, then another error, then with --check a lock that is out of date.

        A hash that was accepted and is of no file that changed is an error, too: it was a mistake, or came too late.
        """
        errors = list(self._errors.values())
        alarms = [error for error in errors if isinstance(error, UpstreamChangedError)]
        if len(alarms) > 1:
            raise UpstreamChangedError(
                f"{len(alarms)} images have files that are not what was locked",
                changes=list(dict.fromkeys(change for error in alarms for change in error.changes)),
                hint="ask the publishers why; only when the new bytes are right, lock again with --accept and each new sha256",
                kept="their locks are as they were",
            )
        for error in (*alarms, *errors):
            raise error
        new_bytes = {
            change.new.digest
            for refreshed in self._images.values()
            for change in refreshed.difference.changes
            if change.accepted and change.new
        }
        if unused := sorted(self._accept - new_bytes):
            raise ConfigurationError(
                f"no file changed to the accepted sha256 {unused[0]}",
                hint="take the new hash that the alarm shows; or it is locked already",
            )
        outdated = [name for name, refreshed in self._images.items() if refreshed.difference]
        if self._check and outdated:
            command = " ".join(["winvhd lock", *outdated, *(["--follow", self._follow] if self._follow else [])])
            raise LockOutdatedError(f"{', '.join(outdated)}: not what the lock says", hint=f"run: {command}")
