"""The shape of the guest contract: a stage is one PowerShell file with a typed input and a typed result."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pydantic import ConfigDict, Field

from images.frozen import Frozen


class LayerName(StrEnum):
    """The layers of an image, in the order in which they are built."""

    OS = "os"
    RUNTIME = "runtime"
    IMAGES = "images"
    ARTIFACTS = "artifacts"
    FIX = "fix"
    """A private fix; only in plans that have one."""
    FINISH = "finish"


class StageInput(Frozen):
    """What a script gets: one JSON object on its standard input."""

    # It holds addresses with their tokens, which no error may quote.
    model_config = ConfigDict(hide_input_in_errors=True)


class NoInput(StageInput):
    """A script without options still gets one JSON object: {}."""


class StageResult(Frozen):
    """What a script gives back: the fields of its last JSON line, next to `"event": "result"`."""

    changed: bool = Field(description="False when the guest already was as asked for.")
    reboot_required: bool = Field(default=False, description="True when a change waits for a restart.")


@dataclass(frozen=True)
class StageContract:
    """One stage: its script, what goes in, what comes out, and how it has to be run."""

    name: str
    script: str
    input: type[StageInput]
    result: type[StageResult]
    elevated: bool = False
    """Run as SYSTEM in a scheduled task: a WinRM token is refused by servicing, and its shell kills what it started."""
    timeout_s: int = 900
    title: str = ""
    """What a person reads while it runs."""
