"""What is kept of a layer: everything behind its fingerprint, and nothing that is secret."""

from __future__ import annotations

import json

from images.fingerprint import layer_fingerprint
from images.layer_record import LayerRecord, record_of
from images.plan import BuildPlan, make_plan
from tests.unit.images.samples import lock_of, rich_definition, scripts

WHEN = "2026-11-01T00:00:00+00:00"


def plan() -> BuildPlan:
    definition = rich_definition()
    return make_plan(definition, lock_of(definition), scripts=scripts(), uploads={"NOTICE": "thanks"})


def test_a_record_holds_everything_behind_its_fingerprint() -> None:
    for layer in plan().layers:
        record = LayerRecord.model_validate_json(record_of(plan(), layer, WHEN).model_dump_json())
        stages = [(stage.stage, stage.input, stage.restart_after) for stage in record.stages]
        assert layer_fingerprint(record.parent, record.layer, stages, record.scripts) == record.fingerprint == layer.fingerprint
        assert (record.image, record.recorded_at) == ("sample", WHEN)


def test_only_the_first_layer_stands_on_the_base_image() -> None:
    assert [record_of(plan(), layer, WHEN).is_first for layer in plan().layers] == [True, False, False, False, False]


def test_a_record_holds_no_token_and_no_name_of_a_secret() -> None:
    text = json.dumps([record_of(plan(), layer, WHEN).model_dump(mode="json") for layer in plan().layers])
    assert "the-fix" in plan().model_dump_json(), "the sample must have a secret"
    for trace in ("the-fix", "secret:", "cache:", '"url"', "https://"):
        assert trace not in text
