"""Every field of every stage's input, taken from the models: changing it changes the fingerprint, and the plan says so."""

from __future__ import annotations

import copy
import types
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any, Literal, Union, get_args, get_origin

import pytest
from pydantic import BaseModel

from images.fingerprint import canonical, layer_fingerprint
from images.layer_record import LayerRecord, RecordedStage
from images.planning.changes import changes
from images.stages import STAGES
from images.stages.contract import LayerName

Path = tuple[str | int, ...]
TOKEN = f"cache:{'a' * 64}"


def sample(kind: Any, seed: str) -> Any:
    """A value of a field's type, another one for each seed."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return sample(inner[0], seed)
    if origin is Literal:
        return inner[0]
    if origin in (tuple, list):
        return [sample(inner[0], f"{seed}{letter}") for letter in "xyz"]
    if origin is dict:
        return {"key": seed}
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return model_sample(kind, seed)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return next(iter(kind)).value
    return {str: seed, int: len(seed), float: len(seed) + 0.5, bool: True}[getattr(kind, "__origin__", kind)]


def model_sample(model: type[BaseModel], seed: str) -> dict[str, Any]:
    """An input as a plan holds it: with a token where the run puts an address."""
    return {name: TOKEN if name == "url" else sample(field.annotation, f"{seed}-{name}") for name, field in model.model_fields.items()}


def edits(value: Any, path: Path = ()) -> Iterator[tuple[Path, Callable[[Any], Any]]]:
    """Where a value can be changed, and how: each leaf, each list longer, shorter and in another order."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from edits(item, (*path, name))
    elif isinstance(value, list):
        yield path, lambda items: [*items, sample(str, "more") if isinstance(items[0], str) else another(items[0])]
        yield path, lambda items: items[1:]
        if len({str(item) for item in value}) > 1:
            yield path, lambda items: items[::-1]
        yield from edits(value[1], (*path, 1))
    else:
        yield path, another


def another(value: Any) -> Any:
    """A different value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 100
    if isinstance(value, str):
        return f"{value}-other"
    return {name: another(item) for name, item in value.items()} if isinstance(value, dict) else value


def edited(value: Any, path: Path, edit: Callable[[Any], Any]) -> Any:
    result = copy.deepcopy(value)
    holder = result
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = edit(holder[path[-1]])
    return result


def recorded(stage: str, given: dict[str, Any], *, restart_after: bool = False) -> LayerRecord:
    scripts = {STAGES[stage].script: "d" * 64}
    return LayerRecord(
        layer=LayerName.ARTIFACTS,
        fingerprint=layer_fingerprint("parent", LayerName.ARTIFACTS, [(stage, given, restart_after)], scripts),
        parent="parent",
        image="sample",
        recorded_at="2026-11-01T00:00:00+00:00",
        root={},
        scripts=scripts,
        stages=(RecordedStage.model_validate({"stage": stage, "input": canonical(given), "restart_after": restart_after}),),
    )


CASES = [
    pytest.param(name, path, edit, id=f"{name}-{'.'.join(map(str, path))}-{number}")
    for name, contract in STAGES.items()
    for number, (path, edit) in enumerate(edits(model_sample(contract.input, name)))
]


@pytest.mark.parametrize(("stage", "path", "edit"), CASES)
def test_a_changed_field_is_another_layer_and_is_shown(stage: str, path: Path, edit: Callable[[Any], Any]) -> None:
    given = model_sample(STAGES[stage].input, stage)
    old, new = recorded(stage, given), recorded(stage, edited(given, path, edit))
    shown = changes(old, new)
    assert old.fingerprint != new.fingerprint
    assert shown, "the fingerprint changed, and nothing says why"
    assert all(change.key.startswith(stage) and str(path[0]) in change.key for change in shown)


def test_cases_cover_every_field_of_every_stage() -> None:
    covered = {(case.values[0], case.values[1][0]) for case in CASES}  # type: ignore[index]
    assert covered == {(name, field) for name, contract in STAGES.items() for field in contract.input.model_fields}


@pytest.mark.parametrize("stage", [name for name, contract in STAGES.items() if "files" in contract.input.model_fields])
def test_where_a_file_comes_from_is_not_what_it_is(stage: str) -> None:
    given = model_sample(STAGES[stage].input, stage)
    moved = edited(given, ("files", 1, "url"), lambda _: "secret:a-block")
    assert recorded(stage, given).fingerprint == recorded(stage, moved).fingerprint
    assert changes(recorded(stage, given), recorded(stage, moved)) == ()


def test_a_restart_is_part_of_a_layer() -> None:
    given = model_sample(STAGES["set-pagefile"].input, "x")
    old, new = recorded("set-pagefile", given), recorded("set-pagefile", given, restart_after=True)
    assert old.fingerprint != new.fingerprint
    assert [change.key for change in changes(old, new)] == ["set-pagefile.restart_after"]


@pytest.mark.parametrize("text", ["secret: do not tell", "cache: of files", "cache:", "secret:Two words\nand a line"])
def test_a_text_that_only_begins_like_a_token_counts(text: str) -> None:
    old, new = (recorded("set-text-file", {"path": "C:\\NOTICE.txt", "text": each}) for each in (text, f"{text} more"))
    assert old.fingerprint != new.fingerprint
    assert [change.key for change in changes(old, new)] == ["set-text-file[C:\\NOTICE.txt].text"]
