"""Updates for tests, with as little said as is needed."""

from __future__ import annotations

from datetime import date
from typing import Any

from images.updates.feed import FeedUpdate, UpdateKind


def update(
    kb: str, released: str, build: str | None = None, kind: str = "cumulative", windows_build: int = 20348, **more: Any
) -> FeedUpdate:
    """An update; `build` is its build.UBR, whose Windows build counts when it is given."""
    number = int(build.split(".")[0]) if build else windows_build
    return FeedUpdate(kb=kb, windows_build=number, fixed_build=build, kind=UpdateKind(kind), released=date.fromisoformat(released), **more)
