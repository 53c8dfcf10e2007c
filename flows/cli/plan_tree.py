"""A plan as a person reads it: the tree of layers, green what is reused, yellow what is built and why, and a closing line."""

from __future__ import annotations

import json
from collections.abc import Iterator

from pydantic import JsonValue
from rich.console import RenderableType
from rich.text import Text
from rich.tree import Tree

from images.planning.change import Change
from images.planning.expected import Expected
from images.planning.work import PlannedLayer, PlannedWork, Since

_COLOURS = {"reuse": "green", "build": "yellow", "empty": "dim"}
_DIGEST_LENGTH = 64
_SHOWN_DIGITS = 12
_SHOWN_CHANGES = 20
"""More lines than this of one layer are counted: the JSON form has them all."""
_SHOWN_CHARACTERS = 80
"""A list or an object that takes more is counted: the JSON form has it whole."""


def plan_lines(work: PlannedWork, expected: Expected) -> Iterator[RenderableType]:
    """The tree and the closing line."""
    for image in work.images:
        if image.already_built:
            yield Text.assemble((image.image, "bold"), "  ", (image.action, "green"))
    bases = {image.image: f"{image.base} {image.generation}" for image in work.images}
    for layer in work.layers:
        tree = Tree(Text.assemble((", ".join(layer.images), "bold"), "  from ", bases[layer.images[0]]), guide_style="dim")
        _add(tree, layer, expected)
        yield tree
    yield Text(_closing(work, expected), style="bold")


def _add(tree: Tree, layer: PlannedLayer, expected: Expected) -> None:
    """Add a layer and those above it; only where images part a new level begins."""
    node = tree.add(_line(layer, expected))
    for why in _reasons(layer):
        node.add(why)
    if len(layer.children) == 1:
        _add(tree, layer.children[0], expected)
        return
    for child in layer.children:
        _add(tree.add(Text(", ".join(child.images), style="bold")), child, expected)


def _line(layer: PlannedLayer, expected: Expected) -> Text:
    line = Text(f"{layer.layer.value:<10} {layer.fingerprint[:_SHOWN_DIGITS]}  ")
    line.append(layer.action, style=_COLOURS[layer.action])
    if layer.action == "build":
        minutes = expected.layers.get(layer.fingerprint)
        line.append("" if minutes is None else f"  {_about(minutes)}", style="dim")
        if layer.built_for != layer.images:
            line.append(f"  for {', '.join(layer.built_for)}")
    if layer.checkpoint:
        line.append(f"  {layer.checkpoint}", style="dim")
    return line


def _reasons(layer: PlannedLayer) -> Iterator[Text]:
    if layer.reason:
        yield Text(layer.reason, style="dim")
    if layer.since is not None:
        yield Text(_since(layer.since), style="dim")
        if layer.since.below:
            yield Text(f"the layer below changed: {layer.since.below}")
        for change in layer.since.changes[:_SHOWN_CHANGES]:
            yield _change(change)
        more = len(layer.since.changes) - _SHOWN_CHANGES
        if more > 0:
            yield Text(f"… and {more} more; --json lists them all", style="dim")


def _since(since: Since) -> str:
    day = since.recorded_at.partition("T")[0]
    return f"since checkpoint {since.checkpoint} ({since.image}, {day})"


def _change(change: Change) -> Text:
    line = Text(f"{change.key}: ")
    if change.kind == "added":
        line.append(f"+{_value(change.new)}", style="green")
    elif change.kind == "removed":
        line.append(f"-{_value(change.old)}", style="red")
    elif change.kind == "reordered":
        line.append("in another order", style="yellow")
    else:
        line.append(_value(change.old), style="red")
        line.append(" → ")
        line.append(_value(change.new), style="green")
    return line


def _value(value: JsonValue) -> str:
    """Texts as they are, digests by their beginning, everything else as JSON; a long list or object by its size and its first entry."""
    if isinstance(value, list | dict):
        return _entries(value)
    if not isinstance(value, str):
        return "nothing" if value is None else json.dumps(value)
    start, colon, end = value.rpartition(":")
    if len(end) == _DIGEST_LENGTH and not set(end) - set("0123456789abcdef"):
        return f"{start}{colon}{end[:_SHOWN_DIGITS]}…"
    return value or '""'


def _entries(value: list[JsonValue] | dict[str, JsonValue]) -> str:
    text = json.dumps(value, ensure_ascii=False)
    if len(text) <= _SHOWN_CHARACTERS:
        return text
    # Of an object its first key.
    first = _value(next(iter(value)))
    if len(first) > _SHOWN_CHARACTERS:
        first = f"{first[:_SHOWN_CHARACTERS]}…"
    return f"1 entry ({first})" if len(value) == 1 else f"{len(value)} entries ({first}, …)"


def _closing(work: PlannedWork, expected: Expected) -> str:
    unchanged = f"{_count(len(work.unchanged), 'image')} unchanged"
    if work.nothing_to_do:
        return f"Plan: nothing to do, {unchanged}, no VM"
    parts = [f"{_count(work.reused, 'layer')} to reuse", f"{work.built} to build"]
    parts.append("time unknown until it was built once" if expected.minutes is None else _about(expected.minutes))
    vms = [f"{number} {role}" for role, number in work.vms.model_dump().items() if number]
    parts.append(f"{_count(work.vms.total, 'VM')} ({', '.join(vms)}) with {work.disk_gib} GiB of disks")
    return f"Plan: {', '.join(parts)}{f', {unchanged}' if work.unchanged else ''}"


def _about(minutes: float) -> str:
    return f"about {minutes:.0f} min" if minutes >= 1 else "less than 1 min"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
