"""Step: one stage with its input, before it becomes part of a plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from images.stages.contract import StageContract, StageInput


@dataclass(frozen=True)
class Step:
    """One stage; `at_run_time` names the fields (dotted paths) that `input` lacks because only the run knows them."""

    contract: StageContract
    input: Mapping[str, JsonValue] = field(default_factory=dict)
    restart_after: bool = False
    at_run_time: tuple[str, ...] = ()

    @classmethod
    def of(cls, contract: StageContract, given: StageInput, *, restart_after: bool = False) -> Step:
        """A stage whose whole input is known when the plan is made."""
        return cls(contract, given.model_dump(mode="json"), restart_after)
