"""How long the steps of a build took (timings.json)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from images.frozen import Frozen


class StepTiming(Frozen):
    """One step: ISO start in UTC, seconds, and whether its result was built or reused."""

    name: str
    layer: str = Field(default="", description="Layer of the image that the step belongs to; empty for steps around it.")
    start: str
    seconds: float
    outcome: Literal["built", "reused", "failed"]
