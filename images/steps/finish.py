"""The `finish` layer: Defender, settings again, identity, clean-up, inventory, release notes, generalize."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from images.definition import ImageDefinition
from images.lock import ImageLock
from images.privacy import MARK_KEY, PUBLIC_SCOPE
from images.private_fix import PrivateFix, settings_with_fix
from images.stages.contract import NoInput
from images.stages.finish import (
    CLEAR_LEFTOVERS,
    GENERALIZE,
    GET_INVENTORY,
    REGISTER_EXPAND_VOLUME,
    SET_IDENTITY,
    SET_TEXT_FILE,
    TEST_FREE_SPACE,
    UPDATE_DEFENDER,
    DefenderInput,
    FreeSpaceInput,
    InventoryInput,
)
from images.steps.fix import mark_steps, switch_steps
from images.steps.runtime import registry_steps
from images.steps.sources import runtime_archive_path
from images.steps.step import Step
from images.steps.system import policy_steps

RELEASE_NOTES_PATH: Final = r"C:\release-notes.txt"
SYSPREP_TIMEOUT_S: Final = 1800
"""AgentBaker's polls for ever; a generalize that works takes some minutes."""

# Release notes show these beside the definition's own values (reference release notes, "Windows Update Registry Settings").
_NOTED_KEYS: Final = (
    r"HKLM:\SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate",
    r"HKLM:\SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate\AU",
    MARK_KEY,
)
_SHARED_FOLDERS: Final = frozenset({"windows", "program files", "program files (x86)", "programdata", "users"})
_SCHANNEL: Final = r"HKLM:\SYSTEM\CurrentControlSet\Control\SecurityProviders\SCHANNEL\Protocols"


def finish_steps(definition: ImageDefinition, lock: ImageLock, fix: PrivateFix | None = None, scope: str = PUBLIC_SCOPE) -> Iterator[Step]:
    """The steps of the `finish` layer, in order; the lock is not needed, everything locked is on the disk by now.

    What switches a private fix on is set after the definition's values, which may be others; an image of a private scope bears its mark.
    """
    del lock
    if definition.expand_volume_task:
        yield Step.of(REGISTER_EXPAND_VOLUME, NoInput())
    if definition.defender is not None:
        yield Step.of(UPDATE_DEFENDER, DefenderInput(**definition.defender.model_dump()))
    yield from policy_steps(definition)
    yield from registry_steps(definition, restart_after=False)
    yield from switch_steps(fix, restart_after=False)
    yield from mark_steps(scope)
    yield Step(SET_IDENTITY, at_run_time=("vhd_id",))
    yield Step.of(CLEAR_LEFTOVERS, NoInput())
    yield Step.of(TEST_FREE_SPACE, FreeSpaceInput(minimum_free_bytes=round(definition.minimum_free_gib * 2**30)))
    yield Step.of(GET_INVENTORY, inventory_input(definition, fix))
    yield Step(SET_TEXT_FILE, {"path": RELEASE_NOTES_PATH}, at_run_time=("text",))
    yield Step(
        GENERALIZE,
        {"sysprep_timeout_s": SYSPREP_TIMEOUT_S},
        at_run_time=("build_account", "certificate_thumbprint", "listener_port"),
    )


def inventory_input(definition: ImageDefinition, fix: PrivateFix | None = None) -> InventoryInput:
    """What an inventory of this image looks at: the top folders of its caches and tools, and the keys it sets."""
    cached = [package.destination for package in definition.packages if not package.expand]
    cached += [artifact.destination for artifact in definition.oci_artifacts]
    cached += [package.destination for package in definition.private_packages]
    if definition.container_runtime is not None:
        cached.append(runtime_archive_path(definition).rpartition("\\")[0])
    tools = [package.destination for package in definition.packages if package.expand]
    keys = [*_NOTED_KEYS, *(setting.path.rstrip("\\") for setting in settings_with_fix(definition.registry, fix))]
    system = definition.system
    for protocol in (*system.tls_disabled, *system.tls_enabled):
        keys += [f"{_SCHANNEL}\\{protocol}\\{side}" for side in ("Client", "Server")]
    return InventoryInput(cache_roots=_top_folders(cached), tool_roots=_top_folders(tools), registry_paths=_once(keys))


def _top_folders(folders: list[str]) -> tuple[str, ...]:
    tops: list[str] = []
    for folder in folders:
        parts = folder.rstrip("\\").split("\\")
        # Below a folder of Windows' own, only the cache itself is of interest.
        tops.append("\\".join(parts if parts[1:2] and parts[1].casefold() in _SHARED_FOLDERS else parts[:2]))
    return _once(tops)


def _once(texts: list[str]) -> tuple[str, ...]:
    """Sorted, and each once: Windows compares without case."""
    found: dict[str, str] = {}
    for text in texts:
        found.setdefault(text.casefold(), text)
    return tuple(found[key] for key in sorted(found))
