"""Expected minutes come from what builds really made, not from what they reused or failed at."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest

from images.history import expected_minutes, expected_step_minutes, expected_total
from images.timings import StepTiming

BEGIN = datetime(2026, 9, 9, 12, 0, tzinfo=UTC)


def _step(name: str, layer: str, minutes: float, at: float = 0, outcome: Literal["built", "reused", "failed"] = "built") -> StepTiming:
    start = (BEGIN + timedelta(minutes=at)).isoformat(timespec="milliseconds")
    return StepTiming(name=name, layer=layer, start=start, seconds=minutes * 60, outcome=outcome)


def _build(features: float, updates: float, boot_test: float) -> list[StepTiming]:
    return [
        _step("provision", "", 5),
        _step("fetch", "", 10, at=3),
        _step("features", "os", features, at=5),
        _step("updates", "os", updates, at=5 + features),
        _step("containerd", "runtime", 2, at=5 + features + updates),
        _step("boot test", "", boot_test, at=7 + features + updates),
    ]


BUILDS = [_build(4, 6, 3), _build(5, 15, 3), _build(5, 7, 9)]


def test_a_layer_takes_the_median_of_the_sums_of_its_steps() -> None:
    assert expected_minutes(BUILDS, "os") == 12
    assert expected_minutes(BUILDS, "runtime") == 2


def test_steps_around_the_layers_are_told_by_name() -> None:
    assert expected_step_minutes(BUILDS, "boot test") == 3
    # A step of a layer is none of those.
    assert expected_step_minutes(BUILDS, "features") is None


def test_what_no_build_made_is_unknown() -> None:
    assert expected_minutes([], "os") is None
    assert expected_minutes(BUILDS, "images") is None
    assert expected_total([], ["os"]) is None
    assert expected_total(BUILDS, ["os", "images"]) is None


@pytest.mark.parametrize("outcome", ["reused", "failed"])
def test_a_layer_that_was_reused_or_failed_does_not_count(outcome: Literal["reused", "failed"]) -> None:
    odd = [_step("features", "os", 100), _step("updates", "os", 0.1, at=100, outcome=outcome)]
    assert expected_minutes([odd], "os") is None
    assert expected_minutes([odd, *BUILDS], "os") == 12
    assert expected_step_minutes([[_step("boot test", "", 99, outcome=outcome)], *BUILDS], "boot test") == 3


def test_the_total_counts_time_beside_a_layer_once() -> None:
    # Around the layers: 5 minutes before (the fetch runs on beside them) and the boot test after.
    assert expected_total([_build(4, 6, 3)], ["os", "runtime"]) == 5 + 10 + 2 + 3


def test_reused_layers_cost_nothing_and_a_plan_without_work_takes_no_time() -> None:
    assert expected_total([_build(4, 6, 3)], ["runtime"]) == 5 + 2 + 3
    assert expected_total(BUILDS, []) == 0


def test_a_failed_build_tells_of_the_layers_that_it_made_only() -> None:
    failed = [_step("provision", "", 50), *_build(4, 6, 3)[2:5], _step("boot test", "", 1, at=60, outcome="failed")]
    assert expected_minutes([failed], "os") == 10
    assert expected_total([failed, _build(4, 6, 3)], ["os"]) == 5 + 10 + 3
