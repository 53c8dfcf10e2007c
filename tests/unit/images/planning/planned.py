"""Plans and records of definitions as they are committed, with one thing changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from images.definition import ImageDefinition
from images.layer_record import LayerRecord, record_of
from images.loading import find_definition, load_definition, read_uploads
from images.plan import BuildPlan, make_plan
from images.planning.change import Change
from images.planning.changes import changes
from tests.unit.images.samples import lock_of, scripts

Content = dict[str, Any]
WHEN = "2026-11-01T00:00:00+00:00"


def committed(name: str, change: Callable[[Content], object] = lambda _: None) -> ImageDefinition:
    """A committed definition with its content changed."""
    content = load_definition(find_definition(name)).model_dump(mode="json")
    change(content)
    return ImageDefinition.model_validate(content)


def plan_of(definition: ImageDefinition, edited: dict[str, bytes] | None = None, **lock_changes: Any) -> BuildPlan:
    """The plan of a definition, with other bytes in some scripts and other values in its lock."""
    texts = {**scripts(), **(edited or {})}
    return make_plan(definition, lock_of(definition, **lock_changes), scripts=texts, uploads=read_uploads(definition))


def records_of(plan: BuildPlan, recorded_at: str = WHEN) -> list[LayerRecord]:
    """The records of all its layers."""
    return [record_of(plan, layer, recorded_at) for layer in plan.layers]


def changes_between(old: BuildPlan, new: BuildPlan) -> dict[str, list[Change]]:
    """The own changes of each layer that has some, by layer."""
    found = {str(after.layer): list(changes(before, after)) for before, after in zip(records_of(old), records_of(new), strict=True)}
    return {layer: of_layer for layer, of_layer in found.items() if of_layer}


def prints_of(plan: BuildPlan) -> list[str]:
    """The fingerprints of its layers."""
    return [layer.fingerprint for layer in plan.layers]
