"""Which entry of an old list is which entry of a new one: by what it is about, not by its place."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

# A version, however it is written: 1.34.9-1, 2022, 5.1_2.
_VERSION = re.compile(r"\d+(?:[._-]\d+)*")
_IDENTITIES = ("kb", "reference", "path", "archive", "url", "name")
"""Fields that say what an object is about, the most telling first."""


@dataclass(frozen=True)
class Pair:
    """Places of one entry in the old and the new list; `renamed` when only its version made it another one."""

    old: int
    new: int
    renamed: bool = False


def identity(entry: dict[str, JsonValue]) -> str | None:
    """What an object is about: a file's path, a KB, an image's reference, a registry value's path and name; None when nothing says it."""
    path, name = entry.get("path"), entry.get("name")
    if isinstance(path, str) and isinstance(name, str):
        return f"{path.rstrip(chr(92))}\\{name}"
    return next((value for field in _IDENTITIES if isinstance(value := entry.get(field), str)), None)


def versioned(entry: dict[str, JsonValue]) -> bool:
    """True when a number in the object's identity may be a version; in a registry value's it is part of a name."""
    return "name" not in entry


def pairs(old: Sequence[str], new: Sequence[str], *, across_versions: bool) -> list[Pair]:
    """Pair two lists of identities, in the order of the new one; each entry is in one pair at most.

    First come equal ones; across versions then those that differ in the end of one (1.34.1 and 1.34.2), then those that differ in any part.
    """
    found: list[Pair] = []
    left_old, left_new = list(range(len(old))), list(range(len(new)))
    for key_of in (_itself, _up_to_the_minor, _without_version) if across_versions else (_itself,):
        matched = match([(place, key_of(old[place])) for place in left_old], [(place, key_of(new[place])) for place in left_new])
        found += [Pair(one, other, renamed=key_of is not _itself) for one, other in matched]
        taken_old, taken_new = {one for one, _ in matched}, {other for _, other in matched}
        left_old = [place for place in left_old if place not in taken_old]
        left_new = [place for place in left_new if place not in taken_new]
    return sorted(found, key=lambda pair: pair.new)


def match(old: Sequence[tuple[int, Hashable]], new: Sequence[tuple[int, Hashable]]) -> list[tuple[int, int]]:
    """Places with equal keys, each used once, the first with the first."""
    waiting: dict[Hashable, list[int]] = defaultdict(list)
    for place, key in reversed(old):
        waiting[key].append(place)
    return [(waiting[key].pop(), place) for place, key in new if waiting[key]]


def in_order(found: Sequence[Pair]) -> bool:
    """True when what is in both lists comes in the same order; one that was replaced by another version may have moved."""
    places = [pair.old for pair in sorted(found, key=lambda pair: pair.new) if not pair.renamed]
    return places == sorted(places)


def _itself(name: str) -> str:
    return name


def _up_to_the_minor(name: str) -> str:
    return _VERSION.sub(lambda version: ".".join(re.split(r"[._-]", version.group())[:2]) + "#", name)


def _without_version(name: str) -> str:
    return _VERSION.sub("#", name)
