"""Runs have names that tell them apart in a list: images by name, also where a path was given, and only how many when they are many."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import prefect.runtime.flow_run
import pytest

from flows.choices import build_images_run_name, build_run_name, monthly_run_name, private_fix_run_name, release_moment

MONTH = {"kind": "b-week", "images": [], "cloud": "azure"}


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        (build_run_name, {"image": "windows-2025", "cloud": "local"}, "build windows-2025 on local"),
        (build_run_name, {"image": "/some/folder/own.yaml", "cloud": "azure"}, "build own on azure"),
        (build_images_run_name, {"images": ["windows-2025", "a/own.yaml"], "cloud": "local"}, "build windows-2025, own on local"),
        (build_images_run_name, {"images": ["a", "b", "c"], "cloud": "local"}, "build 3 images on local"),
        (monthly_run_name, {**MONTH, "as_of": datetime(2026, 8, 12, 17, tzinfo=UTC)}, "2026-08 b-week on azure"),
        # In Redmond it is still July.
        (monthly_run_name, {**MONTH, "as_of": datetime(2026, 8, 1, 3, tzinfo=UTC)}, "2026-07 b-week on azure"),
        (
            monthly_run_name,
            {"kind": "preview", "images": ["windows-2025"], "cloud": "local", "as_of": datetime(2026, 8, 26, 9, tzinfo=UTC)},
            "2026-08 preview of windows-2025 on local",
        ),
        (private_fix_run_name, {"sha256": "0123456789ab" + "f" * 52, "image": "x/own.yaml"}, "private fix 0123456789ab on own"),
    ],
)
def test_run_is_called(monkeypatch: pytest.MonkeyPatch, name: Callable[[], str], given: dict[str, Any], expected: str) -> None:
    monkeypatch.setitem(prefect.runtime.flow_run.FIELDS, "parameters", lambda: given)
    assert name() == expected


def test_moment_is_now_when_none_is_given_and_utc_when_it_has_no_zone() -> None:
    before = datetime.now(UTC)
    assert before <= release_moment(None) <= datetime.now(UTC)
    assert release_moment(datetime(2026, 8, 12, 9)) == datetime(2026, 8, 12, 9, tzinfo=UTC)
    pacific = datetime(2026, 8, 12, 9, tzinfo=timezone(timedelta(hours=-7)))
    assert release_moment(pacific) is pacific
