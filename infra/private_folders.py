"""Folders of this machine with private work: each holds a mark that says whose it is and when it goes, for whoever cleans up later."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import AwareDatetime, ValidationError

from images.errors import ConfigurationError
from images.frozen import Frozen

# No suffix, so that it is no document of a build; hidden, so that it is no product of one.
_MARK = ".private"


@dataclass(frozen=True)
class PrivateFolder:
    """A folder with private work."""

    path: Path
    scope: str
    expires_at: datetime


class _Mark(Frozen):
    scope: str
    expires_at: AwareDatetime


def mark_folder(folder: Path, scope: str, expires_at: datetime) -> None:
    """Note in a folder whose private work is in it and when it goes; raises ConfigurationError when it can not be written."""
    try:
        (folder / _MARK).write_text(_Mark(scope=scope, expires_at=expires_at).model_dump_json(), encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"can not write to {folder}: {error.strerror}", hint="private work must be marked before it begins: is the disk full?"
        ) from error


def private_folders(parent: Path) -> list[PrivateFolder]:
    """The marked folders right below another one, by name. A mark that can not be read is left to a person."""
    found = []
    for mark in sorted(parent.glob(f"*/{_MARK}")):
        try:
            said = _Mark.model_validate_json(mark.read_bytes())
        except (ValidationError, OSError):
            continue
        found.append(PrivateFolder(mark.parent, said.scope, said.expires_at))
    return found


def delete_folder(folder: Path) -> None:
    """Delete a folder with all that is in it, the mark last, so that a deletion that is cut short is done again; absent is fine.

    Raises ConfigurationError when something in it can not be deleted.
    """
    try:
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != _MARK:
                path.unlink()
        (folder / _MARK).unlink(missing_ok=True)
        folder.rmdir()
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigurationError(
            f"could not delete {folder}: {error.strerror}", hint="delete it yourself: private work is in it"
        ) from error
