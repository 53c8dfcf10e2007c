"""Runs have names that tell them apart in a list: images by name, also where a path was given, and only how many when they are many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import prefect.runtime.flow_run
import pytest

from flows.choices import build_images_run_name, build_run_name, monthly_run_name, private_fix_run_name

MONTH = {"kind": "b-week", "images": [], "cloud": "azure"}


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        (build_run_name, {"image": "windows-2025", "cloud": "local"}, "build windows-2025 on local"),
        (build_run_name, {"image": "/some/folder/own.yaml", "cloud": "azure"}, "build own on azure"),
        (build_images_run_name, {"images": ["windows-2025", "a/own.yaml"], "cloud": "local"}, "build windows-2025, own on local"),
        (build_images_run_name, {"images": ["a", "b", "c"], "cloud": "local"}, "build 3 images on local"),
        (monthly_run_name, {**MONTH, "as_of": "2026-08-12"}, "2026-08 b-week on azure"),
        # In Redmond it is still July.
        (monthly_run_name, {**MONTH, "as_of": "2026-08-01T03:00:00Z"}, "2026-07 b-week on azure"),
        (
            monthly_run_name,
            {"kind": "preview", "images": ["windows-2025"], "cloud": "local", "as_of": "2026-08-26T09:00"},
            "2026-08 preview of windows-2025 on local",
        ),
        # It fails, and says why; its name must not hide that.
        (monthly_run_name, {**MONTH, "as_of": "August"}, "no month b-week on azure"),
        (private_fix_run_name, {"sha256": "0123456789ab" + "f" * 52, "image": "x/own.yaml"}, "private fix 0123456789ab on own"),
    ],
)
def test_run_is_called(monkeypatch: pytest.MonkeyPatch, name: Callable[[], str], given: dict[str, Any], expected: str) -> None:
    monkeypatch.setitem(prefect.runtime.flow_run.FIELDS, "parameters", lambda: given)
    assert name() == expected
