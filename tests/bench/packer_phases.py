"""The stages of a plan in the order of AgentBaker's Packer template.

vhdbuilder/packer/windows/windows-vhd-builder-sig.json and configure-windows-vhd.ps1 (Azure/AgentBaker); design, section 9.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import JsonValue

from images.plan import BuildPlan, PlannedStage
from images.stages.content import PULL_IMAGES
from images.stages.contract import LayerName, StageInput
from images.stages.finish import GENERALIZE, GET_INVENTORY, SET_IDENTITY

_PHASE_1 = (
    "expand-os-partition",
    "add-udp-port-exclusion",
    "update-defender",
    "set-windows-update-policy",
    "set-tls-protocol",
    "set-pagefile",
    "install-capability",
    "set-openssh-server",
    "install-update",
    "install-agent-update",
    "set-winrm-start-mode",
    "install-feature",
)
_PHASE_2 = (LayerName.RUNTIME, LayerName.IMAGES, LayerName.ARTIFACTS)
"""What AgentBaker does here are these layers of ours, in their order."""
_PHASE_3 = ("register-expand-volume-task", "clear-component-store", "clear-build-leftover", SET_IDENTITY.name, "test-free-space")
_AFTERWARDS = (GET_INVENTORY.name, "set-text-file", GENERALIZE.name)
"""Release notes and sysprep, which the reference does itself."""
_IN_TURN = ("save-cached-file", PULL_IMAGES.name)
"""AgentBaker's scripts download and pull one after the other."""


@dataclass(frozen=True)
class PackerPhases:
    """Stages by phase; each phase ends with a restart, phase 0 is nothing else."""

    phase_1: tuple[PlannedStage, ...]
    phase_2: tuple[PlannedStage, ...]
    phase_3: tuple[PlannedStage, ...]


def packer_phases(plan: BuildPlan) -> PackerPhases:
    """A plan's stages in AgentBaker's order; policies that our plan sets twice are set once. ValueError when a stage would be left out."""
    middle = [stage for layer in plan.layers if layer.name in _PHASE_2 for stage in layer.stages]
    known = {*_PHASE_1, *_PHASE_3, *_AFTERWARDS, *(stage.stage for stage in middle)}
    left_out = sorted({stage.stage for stage in plan.stages} - known)
    if left_out:
        raise ValueError(f"the reference does not know {', '.join(left_out)}")
    return PackerPhases(
        phase_1=tuple(stage for name in _PHASE_1 for stage in _named(plan, name) if not _undoes_the_delay(stage)),
        # Installers reset some of the registry settings.
        phase_2=(*middle, *_named(plan, "set-registry-setting")[-1:]),
        phase_3=tuple(stage for name in _PHASE_3 for stage in _named(plan, name)),
    )


def packer_input(stage: PlannedStage, vhd_id: str, url_of: Callable[[str], str]) -> StageInput:
    """A stage's whole input without a cache and without parallel downloads; `url_of` gives the public URL for a token."""
    given = dict(stage.input)
    if stage.stage in _IN_TURN:
        given["parallel"] = 1
    if stage.stage == PULL_IMAGES.name:
        given["images"] = [image | {"blobs": {}} for image in _objects(given["images"])]
    values: dict[str, JsonValue] = {"vhd_id": vhd_id} if stage.stage == SET_IDENTITY.name else {}
    return stage.model_copy(update={"input": given}).complete(values, url_of)


def _named(plan: BuildPlan, name: str) -> list[PlannedStage]:
    """The stages of this name, each input once."""
    found: dict[str, PlannedStage] = {}
    for stage in plan.stages:
        if stage.stage == name:
            found.setdefault(json.dumps(stage.input, sort_keys=True), stage)
    return list(found.values())


def _undoes_the_delay(stage: PlannedStage) -> bool:
    return stage.stage == "set-winrm-start-mode" and stage.input["mode"] == "auto"


def _objects(value: JsonValue) -> list[dict[str, JsonValue]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
