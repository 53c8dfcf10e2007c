"""Stages that end a layer or a build: clean-up before a checkpoint, Defender, settings again, identity, inventory, generalize."""

from __future__ import annotations

from pydantic import Field

from images.inventory import Inventory
from images.stages.contract import NoInput, StageContract, StageInput, StageResult


class DefenderInput(StageInput):
    update_platform: bool
    update_signatures: bool
    max_signature_age_hours: int


class DefenderResult(StageResult):
    platform_version: str
    signature_version: str
    signature_age_hours: float


class VhdIdentityInput(StageInput):
    vhd_id: str = Field(description="A GUID, written to C:\\vhd-id.txt.")


class FreeSpaceInput(StageInput):
    minimum_free_bytes: int


class FreeSpaceResult(StageResult):
    free_bytes: int


class TextFileInput(StageInput):
    """Release notes travel in the input: they are small and not secret."""

    path: str
    text: str


class InventoryInput(StageInput):
    cache_roots: tuple[str, ...] = Field(description="Folders whose files are listed with their hashes.")
    tool_roots: tuple[str, ...]
    registry_paths: tuple[str, ...] = Field(description="Keys whose values are listed.")


class InventoryResult(StageResult):
    inventory: Inventory


class ClearBuildLeftoverResult(StageResult):
    removed: tuple[str, ...]
    free_bytes: int


class ClearRunCommandResult(StageResult):
    removed: tuple[str, ...] = Field(description="Paths of what went: files and tasks.")


class GeneralizeInput(StageInput):
    sysprep_timeout_s: int = Field(description="Bound of the wait for IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE.")
    build_account: str = Field(description="Account that the last contact removes.")
    certificate_thumbprint: str
    listener_port: int


class GeneralizeResult(StageResult):
    image_state: str
    seconds: float


REGISTER_EXPAND_VOLUME = StageContract(
    "register-expand-volume-task", "Register-ExpandVolumeTask.ps1", NoInput, StageResult, title="Expand-volume task"
)
UPDATE_DEFENDER = StageContract(
    "update-defender", "Update-Defender.ps1", DefenderInput, DefenderResult, elevated=True, timeout_s=1800, title="Defender"
)
CLEAR_LEFTOVERS = StageContract(
    "clear-build-leftover", "Clear-BuildLeftover.ps1", NoInput, ClearBuildLeftoverResult, elevated=True, timeout_s=3600, title="Clean-up"
)
CLEAR_RUN_COMMAND = StageContract(
    "clear-run-command", "Clear-RunCommandTrace.ps1", NoInput, ClearRunCommandResult, timeout_s=120, title="Prepare the checkpoint"
)
"""The last stage before a VM is stopped for its checkpoint, in every layer; part of no plan and no fingerprint."""
SET_IDENTITY = StageContract("set-vhd-identity", "Set-VhdIdentity.ps1", VhdIdentityInput, StageResult, title="Identity file")
TEST_FREE_SPACE = StageContract("test-free-space", "Test-FreeSpace.ps1", FreeSpaceInput, FreeSpaceResult, title="Free space")
SET_TEXT_FILE = StageContract("set-text-file", "Set-TextFile.ps1", TextFileInput, StageResult, title="Text file")
GET_INVENTORY = StageContract(
    "get-inventory", "Get-Inventory.ps1", InventoryInput, InventoryResult, elevated=True, timeout_s=1800, title="Inventory"
)
GENERALIZE = StageContract(
    "invoke-generalize", "Invoke-Generalize.ps1", GeneralizeInput, GeneralizeResult, elevated=True, timeout_s=3600, title="Generalize"
)

FINISH_STAGES = (
    REGISTER_EXPAND_VOLUME,
    UPDATE_DEFENDER,
    CLEAR_LEFTOVERS,
    CLEAR_RUN_COMMAND,
    SET_IDENTITY,
    TEST_FREE_SPACE,
    SET_TEXT_FILE,
    GET_INVENTORY,
    GENERALIZE,
)
