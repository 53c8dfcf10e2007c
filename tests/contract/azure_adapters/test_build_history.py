"""The timings of an image's latest builds come back, newest first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from images.timings import StepTiming
from infra.azure.blob_storage import ensure_container
from infra.azure.build_history import BuildHistory
from infra.azure.session import Cloud

NOW = datetime(2026, 9, 9, 12, 0, tzinfo=UTC)


@pytest.fixture
def history(cloud: Cloud, container: str) -> BuildHistory:
    ensure_container(cloud, container)
    return BuildHistory(cloud, container=container)


def _timing(seconds: float) -> StepTiming:
    return StepTiming(name="features", layer="os", start="2026-09-09T12:00:00.000+00:00", seconds=seconds, outcome="built")


def test_timings_come_back_newest_build_first_up_to_the_count(history: BuildHistory) -> None:
    for day in range(7):
        # Build ids do not sort by time.
        history.record(f"build-{9 - day}", "small", [_timing(day), _timing(day + 0.5)], now=NOW + timedelta(days=day))
    recent = history.recent("small")
    assert [timings[0].seconds for timings in recent] == [6, 5, 4, 3, 2]
    assert recent[0] == (_timing(6), _timing(6.5))
    assert len(history.recent("small", 2)) == 2


def test_builds_of_one_moment_are_both_kept_and_images_do_not_mix(history: BuildHistory) -> None:
    history.record("build-1", "small", [_timing(1)], now=NOW)
    history.record("build-2", "small", [_timing(2)], now=NOW)
    history.record("build-3", "smaller", [_timing(3)], now=NOW)
    assert sorted(timings[0].seconds for timings in history.recent("small")) == [1, 2]


def test_an_image_without_builds_has_no_history(history: BuildHistory) -> None:
    assert history.recent("small") == []


def test_an_unreadable_history_is_left_out(history: BuildHistory, cloud: Cloud, container: str) -> None:
    history.record("build-1", "small", [_timing(1)])
    with cloud.blobs().get_blob_client(container, "history/small/99991231T000000Z-odd.json") as blob:
        blob.upload_blob(b"{}")
    assert history.recent("small") == [(_timing(1),)]
