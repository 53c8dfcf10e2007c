"""Change: one key that differs, and what it was and is."""

from __future__ import annotations

import hashlib
from typing import Literal

from pydantic import Field, JsonValue

from images.frozen import Frozen

_LONG = 200


class Change(Frozen):
    """One key of a layer, for example `set-registry-setting.settings[HKLM:\\SOFTWARE\\Example\\B].value`."""

    key: str
    kind: Literal["changed", "added", "removed", "reordered"]
    old: JsonValue = Field(default=None, description="What it was; null where it was added.")
    new: JsonValue = Field(default=None, description="What it is; null where it was removed.")


def changed(key: str, old: JsonValue, new: JsonValue) -> Change:
    """A key with another value."""
    return Change(key=key, kind="changed", old=_shown(old), new=_shown(new))


def added(key: str, new: JsonValue) -> Change:
    """Something that was not there."""
    return Change(key=key, kind="added", new=_shown(new))


def removed(key: str, old: JsonValue) -> Change:
    """Something that is not there any more."""
    return Change(key=key, kind="removed", old=_shown(old))


def reordered(key: str) -> Change:
    """The same content in another order: scripts work through lists from the first to the last."""
    return Change(key=key, kind="reordered")


def _shown(value: JsonValue) -> JsonValue:
    """A value as it is; a long text, for example a whole file, by its length and digest."""
    if isinstance(value, str) and len(value) > _LONG:
        return f"{len(value)} characters, sha256 {hashlib.sha256(value.encode()).hexdigest()}"
    return value
