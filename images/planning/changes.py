"""What has changed between two records of a layer, and which of many records is the nearest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from itertools import count

from pydantic import JsonValue

from images.frozen import Frozen
from images.layer_record import LayerRecord, RecordedStage
from images.planning.change import Change, added, changed, removed, reordered
from images.planning.pairing import Pair, identity, in_order, match
from images.planning.values import differences
from images.stages import STAGES


class Nearest(Frozen):
    """The record that a layer is closest to, and what has changed since."""

    record: LayerRecord
    changes: tuple[Change, ...]


def changes(old: LayerRecord, new: LayerRecord) -> tuple[Change, ...]:
    """The layer's own changes, each with its exact key; that the layer below changed is not among them.

    Of the base image they speak where it is the layer's parent: further up it is the layer below that changed.
    """
    return tuple(_changes(old, new))


def nearest(layer: LayerRecord, records: Sequence[LayerRecord], images: Collection[str]) -> Nearest | None:
    """The record with the fewest changes; of several those of these images before others, then the newest. None without a comparable one.

    Another image's record compares when both start from the same Windows and generation: a list of everything in which two products differ
    tells nobody what has changed.
    """
    comparable = [record for record in records if record.image in images or _family(record) == _family(layer)]
    compared = [(record, changes(record, layer)) for record in comparable]
    # From the last key to the first: a stable sort keeps what the one before decided.
    compared.sort(key=lambda pair: (pair[0].recorded_at, pair[0].fingerprint, pair[0].image), reverse=True)
    compared.sort(key=lambda pair: (len(pair[1]) + (pair[0].parent != layer.parent), pair[0].image not in images))
    return Nearest(record=compared[0][0], changes=compared[0][1]) if compared else None


def _family(record: LayerRecord) -> tuple[JsonValue, ...]:
    # In one offer such as WindowsServer the SKU says which Windows it is; the version's first number says it for all of them.
    build = str(record.root.get("version")).partition(".")[0]
    return (record.root.get("publisher"), record.root.get("offer"), record.root.get("generation"), build)


def _changes(old: LayerRecord, new: LayerRecord) -> Iterator[Change]:
    if new.is_first:
        yield from differences("base", old.root, new.root)
    found = _pairs(old.stages, new.stages)
    kept = {pair.old for pair in found}
    gone = [stage for place, stage in enumerate(old.stages) if place not in kept]
    for stage in gone:
        yield removed("stages", _title(stage))
    labels = _labels(new.stages)
    partner = {pair.new: old.stages[pair.old] for pair in found}
    come = []
    for place, stage in enumerate(new.stages):
        before = partner.get(place)
        if before is None:
            come.append(stage)
            yield added("stages", _title(stage))
            continue
        yield from differences(labels[place], before.input, stage.input)
        if before.restart_after is not stage.restart_after:
            yield changed(f"{labels[place]}.restart_after", before.restart_after, stage.restart_after)
    if not in_order(found):
        yield reordered("stages")
    yield from _scripts(old.scripts, new.scripts, _scripts_of(gone), _scripts_of(come))


def _pairs(old: Sequence[RecordedStage], new: Sequence[RecordedStage]) -> list[Pair]:
    """Stages of the same name belong together: first those that are the same, then those about the same, then in their order."""
    found: list[tuple[int, int]] = []
    for key_of in (RecordedStage.model_dump_json, _title, lambda stage: stage.stage):
        taken_old, taken_new = {one for one, _ in found}, {other for _, other in found}
        found += match(
            [(place, key_of(stage)) for place, stage in enumerate(old) if place not in taken_old],
            [(place, key_of(stage)) for place, stage in enumerate(new) if place not in taken_new],
        )
    return [Pair(one, other) for one, other in found]


def _title(stage: RecordedStage) -> str:
    about = identity(stage.input)
    return f"{stage.stage}[{about}]" if about else stage.stage


def _labels(stages: Sequence[RecordedStage]) -> list[str]:
    """What the keys of each stage begin with: its name, its number where the same title is there again."""
    titles = Counter(_title(stage) for stage in stages)
    numbers = {title: count(1) for title in titles}
    return [title if titles[title] == 1 else f"{title}#{next(numbers[title])}" for title in map(_title, stages)]


def _scripts_of(stages: Sequence[RecordedStage]) -> frozenset[str]:
    return frozenset(STAGES[stage.stage].script for stage in stages if stage.stage in STAGES)


def _scripts(old: dict[str, str], new: dict[str, str], gone: frozenset[str], come: frozenset[str]) -> Iterator[Change]:
    """Scripts with other bytes, and those that came or went without their stage."""
    for name in sorted({*old, *new}):
        key = f"scripts.{name}"
        if name not in old:
            if name not in come:
                yield added(key, new[name])
        elif name not in new:
            if name not in gone:
                yield removed(key, old[name])
        elif old[name] != new[name]:
            yield changed(key, old[name], new[name])
