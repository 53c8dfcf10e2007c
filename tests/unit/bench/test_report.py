"""The benchmark's report: the line through several paces tells minutes of Azure from our own seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.bench.report import BEGIN, END, draw, extrapolated, in_document, steps_apart, tables, where_it_went


def sweep(factor: float, *, minutes: float = 40.0, own_s: float = 5.0) -> dict[str, Any]:
    pace = 0.5 * factor
    cold = {
        "title": "Cold",
        "goal": "at most 0.75 of the reference",
        "ours_s": minutes * pace + own_s,
        "reference_s": 100 * pace + 2,
        "critical_s": 38 * pace,
        "times_faster": (100 * pace + 2) / (minutes * pace + own_s),
        "over_critical": (minutes * pace + own_s) / (38 * pace),
        "of_one_build": 1.0,
        "critical_path": [("vm.create", 38.0)],
        "steps": [{"name": "build VM", "starts_at": 0.0, "ends_at": 20 * pace}],
        "operations": {"vm.create": 3},
    }
    return {"factor": factor, "seconds_per_minute": pace, "reference_steps": [], "scenarios": {"cold": cold}}


def test_minutes_and_own_seconds_are_told_apart() -> None:
    found = extrapolated([sweep(1), sweep(0.5), sweep(2)])["cold"]
    assert found["own_s"] == pytest.approx(5, abs=0.01)
    assert found["ours_min"] == pytest.approx(40 + 5 / 60, abs=0.01)
    assert found["over_critical"] == pytest.approx((40 + 5 / 60) / 38, abs=0.001)


def test_tables_show_ratios_first() -> None:
    text = tables({"sweeps": [sweep(1)]})
    assert text.splitlines()[1].split()[:3] == ["scenario", "times", "faster"]
    assert "2.1" in text.splitlines()[2]


def test_an_explanation_counts_in_minutes_of_azure() -> None:
    text = where_it_went(sweep(2), "cold")
    assert "+20.00  build VM" in text
    assert "+38.00  vm.create" in text


def test_a_step_is_told_apart_as_minutes_and_own_seconds() -> None:
    (line,) = steps_apart([sweep(1), sweep(0.5), sweep(2)], "cold").splitlines()[1:]
    minutes, own_s, name = line.split(maxsplit=2)
    assert (float(minutes), abs(float(own_s)), name) == (20, 0, "build VM")


def test_the_same_results_give_the_same_chart(tmp_path: Path) -> None:
    results = {"sweeps": [sweep(1)]}
    for name in ("one.svg", "other.svg"):
        draw(results, tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "other.svg").read_bytes()
    assert "Cold" in (tmp_path / "one.svg").read_text()


def test_only_the_part_between_the_marks_of_a_document_changes() -> None:
    results = {
        "made": "2026-11-26T05:00:00+00:00",
        "commit": "abc",
        "machine": {"processors": 2, "system": "Linux", "load_before": 0.1},
        "sweeps": [sweep(1)],
    }
    text = in_document(f"# Title\n{BEGIN}\nyesterday\n{END}\nthe rest\n", results)
    assert text.startswith("# Title\n")
    assert text.endswith("\nthe rest\n")
    assert "yesterday" not in text
    assert "2 processors, Linux" in text
    assert in_document(text, results) == text
