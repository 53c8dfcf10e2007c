"""A plan's progress and the outcome of its layers follow from the timings of the steps."""

from __future__ import annotations

from typing import Literal

import pytest

from images.plan import BuildPlan, Layer, make_plan
from images.timings import StepTiming
from tasks.show_plan import CLOSING_STEPS, PlanProgress
from tests.unit.images.samples import lock_of, rich_definition, scripts

Outcome = Literal["built", "reused", "failed"]


@pytest.fixture(scope="module")
def plan() -> BuildPlan:
    """The plan of a definition with one of everything."""
    definition = rich_definition()
    return make_plan(
        definition, lock_of(definition), scripts=scripts(), uploads=dict.fromkeys((file.source for file in definition.files), "text")
    )


def _step(name: str, layer: str = "", outcome: Outcome = "built") -> StepTiming:
    return StepTiming(name=name, layer=layer, start="2026-01-01T00:00:00.000+00:00", seconds=2.0, outcome=outcome)


def _steps(layer: Layer) -> list[StepTiming]:
    """What a build times in a layer: a layer that is saved ends in a checkpoint, whose stop is its last restart."""
    steps = []
    for number, planned in enumerate(layer.stages, 1):
        steps.append(_step(planned.stage, layer.name.value))
        if layer.reusable and number == len(layer.stages):
            steps.append(_step(f"checkpoint {layer.name.value}", layer.name.value))
        elif planned.restart_after:
            steps.append(_step("Restart", layer.name.value))
    return steps


def test_everything_but_the_verdict_is_done_when_every_step_has_ended(plan: BuildPlan) -> None:
    progress = PlanProgress(plan)
    steps = [step for layer in plan.layers for step in _steps(layer)]
    assert progress.done(tuple(steps)) == len(steps) == progress.total - len(CLOSING_STEPS) - 1
    steps += [_step(name) for name in CLOSING_STEPS]
    assert progress.done(tuple(steps)) == progress.total - 1
    assert {row["outcome"] for row in progress.table(tuple(steps))} == {"built"}


def test_steps_around_the_layers_do_not_count(plan: BuildPlan) -> None:
    assert PlanProgress(plan).done((_step("resolve the lock"), _step("Inventory (boot test)"))) == 0


def test_a_failed_step_is_not_done_and_the_layers_after_it_are_not_reached(plan: BuildPlan) -> None:
    first, second, *rest = plan.layers
    steps = (*_steps(first), _step(second.stages[0].stage, second.name.value, "failed"))
    progress = PlanProgress(plan)
    assert progress.done(steps) == len(steps) - 1
    assert [row["outcome"] for row in progress.table(steps)] == ["built", "failed", *["not reached"] * len(rest)]


def test_a_layer_that_was_begun_is_incomplete(plan: BuildPlan) -> None:
    first = plan.layers[0]
    assert PlanProgress(plan).outcome(first, tuple(_steps(first)[:1])) == "incomplete"


def test_one_reused_step_stands_for_its_whole_layer(plan: BuildPlan) -> None:
    first = plan.layers[0]
    steps = (_step("find the checkpoint", first.name.value, "reused"),)
    progress = PlanProgress(plan)
    assert progress.done(steps) == len(_steps(first))
    row = progress.table(steps)[0]
    assert (row["layer"], row["outcome"], row["seconds"]) == (first.name.value, "reused", 2.0)
    assert row["fingerprint"] == first.fingerprint[:12]
