"""The year's calendar, its definitions, and its sums."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

from images.loading import definition_names, load_definition
from tests.bench.bench_year import YEAR, YearRun, moving_definitions, run_day, section, totals

RUNS = (
    YearRun("2026-07", "b-week", "2026-07-15", 5, 1, 0, 20, 4, 10, 31.0, 0, 2.0),
    YearRun("2026-07", "preview", "2026-07-29", 0, 6, 0, 0, 0, 0, 2.0, 0, 3.0),
)


def test_the_year_has_twelve_months_and_ends_where_the_calendar_of_the_stand_in_does() -> None:
    assert (len(YEAR), YEAR[0], YEAR[-1]) == (12, "2025-12", "2026-11")


def test_runs_are_on_the_days_of_the_schedules() -> None:
    assert run_day("2026-08", "b-week") == date(2026, 8, 12)
    assert run_day("2026-08", "preview") == date(2026, 8, 26)
    # The Wednesday of that week, also where the month begins with one.
    assert run_day("2026-07", "b-week") == date(2026, 7, 15)


def test_definitions_follow_their_windows_and_are_the_committed_ones_otherwise(tmp_path: Path) -> None:
    for name, path in zip(definition_names(), moving_definitions(tmp_path / "moving", definition_names()), strict=True):
        moving = load_definition(Path(path))
        assert re.fullmatch(r"(17763|20348|26100)\.\*", moving.base.version)
        committed = load_definition(Path("images/definitions") / f"{name}.yaml")
        assert moving.container_images
        assert not any(":10.0." in image for image in moving.container_images)
        followed = {"base": committed.base, "container_images": committed.container_images}
        assert moving.model_copy(update=followed) == committed


def test_every_image_of_every_run_is_built_or_skipped() -> None:
    sums = totals(RUNS)
    assert sums["built"] + sums["skipped"] == 6 * sums["runs"]
    assert (sums["vms"], sums["layers_built"], sums["layers_reused"], sums["minutes"]) == (10, 20, 4, 0.6)
    text = section({"runs": [vars(run) for run in RUNS], "totals": sums, "images": list(range(6))})
    assert "**5 builds done, 19 skipped, 4 layers reused and 20 built, 10 VMs, 0.6 minutes.**" in text
    assert "| 2026-07 | b-week | 5 | 1 | 0 | 20 | 4 | 10 | 31 | 0 | 2.0 |" in text
