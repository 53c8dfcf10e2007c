"""What differs between two JSON values: a line for each thing that changed, not for each place that moved."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TypeVar

from pydantic import JsonValue

from images.planning.change import Change, added, changed, removed, reordered
from images.planning.pairing import Pair, identity, in_order, match, pairs, versioned

_CONTENT = frozenset({"sha256", "digest"})
_OF_CONTENT = frozenset({"size_bytes"})
"""Follows from the content: said only where the digest is the same."""
_OF_VERSION = _CONTENT | _OF_CONTENT | {"file_name", "build"}
"""Another version has other bytes and often another name, and an update of another month another build of Windows."""

_Object = dict[str, JsonValue]
_Value = TypeVar("_Value")


def differences(key: str, old: JsonValue, new: JsonValue) -> Iterator[Change]:
    """What differs below a key, each with its readable path."""
    if isinstance(old, dict) and isinstance(new, dict):
        yield from _of_objects(key, old, new)
    elif isinstance(old, list) and isinstance(new, list):
        yield from _of_lists(key, old, new)
    elif not same(old, new):
        yield changed(key, old, new)


def same(old: JsonValue, new: JsonValue) -> bool:
    """True for equal plain values: to Python 1, 1.0 and true are equal, to a script they are not."""
    return type(old) is type(new) and old == new


def _of_objects(key: str, old: _Object, new: _Object, unsaid: frozenset[str] = frozenset()) -> Iterator[Change]:
    if any(not same(old.get(field), new.get(field)) for field in _CONTENT):
        unsaid |= _OF_CONTENT
    for field in dict.fromkeys((*new, *old)):
        path = f"{key}.{field}"
        if field in unsaid:
            continue
        if field not in old:
            yield added(path, new[field])
        elif field not in new:
            yield removed(path, old[field])
        else:
            yield from differences(path, old[field], new[field])


def _of_lists(key: str, old: list[JsonValue], new: list[JsonValue]) -> Iterator[Change]:
    entries = [[entry for entry in side if isinstance(entry, dict)] for side in (old, new)]
    names = [[name for entry in side if (name := identity(entry)) is not None] for side in entries]
    if [len(side) for side in names] == [len(old), len(new)]:
        across = all(versioned(entry) for side in entries for entry in side)
        if names != [[], []]:
            yield from _of_entries(key, entries[0], entries[1], pairs(names[0], names[1], across_versions=across))
    elif not any(isinstance(value, dict | list) for value in (*old, *new)):
        yield from _of_plain_values(key, old, new)
    else:
        yield from _of_places(key, old, new)


def _of_entries(key: str, old: list[_Object], new: list[_Object], found: list[Pair]) -> Iterator[Change]:
    for entry in _others(old, [pair.old for pair in found]):
        yield removed(key, identity(entry))
    partner = {pair.new: pair for pair in found}
    for place, entry in enumerate(new):
        pair = partner.get(place)
        if pair is None:
            yield added(key, identity(entry))
            continue
        before = old[pair.old]
        unsaid: frozenset[str] = frozenset()
        if pair.renamed:
            one, other = identity(before), identity(entry)
            yield changed(key, one, other)
            unsaid = _OF_VERSION | {field for field in entry if before.get(field) == one and entry[field] == other}
        yield from _of_objects(f"{key}[{identity(entry)}]", before, entry, unsaid)
    if not in_order(found):
        yield reordered(key)


def _of_plain_values(key: str, old: list[JsonValue], new: list[JsonValue]) -> Iterator[Change]:
    both = match(*([(place, json.dumps(value)) for place, value in enumerate(side)] for side in (old, new)))
    for value in _others(old, [one for one, _ in both]):
        yield removed(key, value)
    for value in _others(new, [other for _, other in both]):
        yield added(key, value)
    if not in_order([Pair(one, other) for one, other in both]):
        yield reordered(key)


def _of_places(key: str, old: list[JsonValue], new: list[JsonValue]) -> Iterator[Change]:
    for place in range(max(len(old), len(new))):
        path = f"{key}[{place}]"
        if place >= len(old):
            yield added(path, new[place])
        elif place >= len(new):
            yield removed(path, old[place])
        else:
            yield from differences(path, old[place], new[place])


def _others(values: list[_Value], taken: list[int]) -> list[_Value]:
    places = frozenset(taken)
    return [value for place, value in enumerate(values) if place not in places]
