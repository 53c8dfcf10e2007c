"""Stages that end a build, as images.stages.finish describes them."""

from __future__ import annotations

import shutil
import uuid
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from datetime import UTC, datetime

from images.stages.contract import NoInput, StageResult
from images.stages.finish import (
    ClearBuildLeftoverResult,
    DefenderInput,
    DefenderResult,
    FreeSpaceInput,
    FreeSpaceResult,
    InventoryInput,
    InventoryResult,
    TextFileInput,
    VhdIdentityInput,
)
from infra.local.machine import openssh
from infra.local.machine.defender import DOWNLOAD_URL, INFO_URL, defender_state, set_platform, set_signatures
from infra.local.machine.downloads import with_attempts
from infra.local.machine.inventory import VHD_ID_FILE, take_inventory
from infra.local.machine.scheduled_tasks import register_task
from infra.local.machine.stage_run import StageFailureError, StageRun
from infra.local.machine.update_history import add_history

EXPAND_VOLUME_TASK = r"\expand-os-volume"
_EXPAND_VOLUME = (
    '-NoProfile -NonInteractive -ExecutionPolicy Bypass -Command "$max = (Get-PartitionSupportedSize -DriveLetter C).SizeMax; '
    'if ($max -gt (Get-Partition -DriveLetter C).Size + 1MB) { Resize-Partition -DriveLetter C -Size $max }"'
)
_ATTEMPTS = 3
PLUGINS = r"C:\Packages\Plugins"
_LEFTOVER_FOLDERS = (
    r"C:\Windows\Temp",
    r"C:\Windows\SoftwareDistribution\Download",
    r"C:\Windows\Logs\CBS",
    r"C:\Windows\Logs\DISM",
    r"C:\ProgramData\Microsoft\Windows\WER\ReportQueue",
    r"C:\ProgramData\Microsoft\Windows\WER\ReportArchive",
    r"C:\Users\Public\Downloads",
    PLUGINS,
)


def register_expand_volume_task(run: StageRun, _: NoInput) -> StageResult:
    """A task that grows C: to the disk when a node starts."""
    with run.machine.lock:
        changed = register_task(run.disk, EXPAND_VOLUME_TASK, "powershell.exe", _EXPAND_VOLUME, at_startup=True)
    return StageResult(changed=changed)


def update_defender(run: StageRun, wanted: DefenderInput) -> DefenderResult:
    """Defender's newest platform and signatures; signatures that are too old fail the build."""
    before = defender_state(run.disk)
    if before is None:
        raise StageFailureError("defender-missing", "Microsoft Defender Antivirus is not installed")
    if wanted.update_platform or wanted.update_signatures:
        _update(run, wanted)
    after = defender_state(run.disk)
    assert after is not None
    age = (run.now - after.updated).total_seconds() / 3600
    if age > wanted.max_signature_age_hours:
        raise StageFailureError(
            "signatures-old", f"the signatures {after.signatures} are {age:.0f} h old, allowed are {wanted.max_signature_age_hours} h"
        )
    return DefenderResult(
        changed=after != before,
        platform_version=after.platform,
        signature_version=after.signatures,
        signature_age_hours=round(max(age, 0.0), 2),
    )


@dataclass(frozen=True)
class _Newest:
    """What Microsoft's version document names as newest."""

    platform: str
    signatures: str
    made: datetime


def _newest(document: bytes) -> _Newest:
    try:
        root = ET.fromstring(document)  # noqa: S314 - the stand-in's own document
        signatures = root.find("signatures")
        date = signatures.get("date", "") if signatures is not None else ""
        made = datetime.strptime(date, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    except (ET.ParseError, ValueError) as error:
        raise StageFailureError("download-failed", f"Defender's version document is damaged: {error}") from error
    return _Newest(root.findtext("platform", ""), root.findtext("signatures", ""), made)


def _update(run: StageRun, wanted: DefenderInput) -> None:
    parts = [name for name, chosen in (("platform", wanted.update_platform), ("signatures", wanted.update_signatures)) if chosen]
    for name in parts:
        run.progress(f"Defender {name}")
        run.take("guest.update-defender", share=1 / len(parts))
    with run.client() as client:
        newest, _ = with_attempts(run, _ATTEMPTS, lambda: _newest(run.fetch(client, INFO_URL).content))
        with_attempts(run, _ATTEMPTS, lambda: run.fetch(client, DOWNLOAD_URL).content)
    defender, channel = "Microsoft Defender Antivirus", "Current Channel (Broad)"
    with run.machine.lock:
        state = defender_state(run.disk)
        if wanted.update_platform and state and state.platform != newest.platform:
            set_platform(run.disk, newest.platform)
            title = f"Update for {defender} antimalware platform - KB4052623 (Version {newest.platform}) - {channel}"
            add_history(run.disk, title, run.now)
        if wanted.update_signatures and state and state.signatures != newest.signatures:
            set_signatures(run.disk, newest.signatures, newest.made)
            title = f"Security Intelligence Update for {defender} - KB2267602 (Version {newest.signatures}) - {channel}"
            add_history(run.disk, title, run.now)


def clear_build_leftover(run: StageRun, _: NoInput) -> ClearBuildLeftoverResult:
    """Temporary files, downloads, logs, host keys and Run Command's traces removed."""
    removed: list[str] = []
    with run.machine.lock:
        for folder in _LEFTOVER_FOLDERS:
            path = run.disk.path(folder)
            for entry in sorted(path.iterdir()) if path.is_dir() else ():
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
                removed.append(rf"{folder}\{entry.name}")
        removed += openssh.remove_host_keys(run.disk)
    return ClearBuildLeftoverResult(changed=bool(removed), removed=tuple(removed), free_bytes=run.machine.free_bytes)


def set_vhd_identity(run: StageRun, wanted: VhdIdentityInput) -> StageResult:
    """C:\\vhd-id.txt with the image's GUID."""
    try:
        identity = str(uuid.UUID(wanted.vhd_id))
    except ValueError as error:
        raise StageFailureError("bad-input", f"{wanted.vhd_id} is no GUID") from error
    return StageResult(changed=_set_text(run, VHD_ID_FILE, identity))


def set_text_file(run: StageRun, wanted: TextFileInput) -> StageResult:
    """A text file in UTF-8."""
    return StageResult(changed=_set_text(run, wanted.path, wanted.text))


def _set_text(run: StageRun, path: str, text: str) -> bool:
    file = run.disk.path(path)
    content = text.encode()
    if file.is_file() and file.read_bytes() == content:
        return False
    run.reserve(0)
    run.disk.write(path, content)
    return True


def test_free_space(run: StageRun, wanted: FreeSpaceInput) -> FreeSpaceResult:
    """Fails when C: has less room than the image must leave."""
    free = run.machine.free_bytes
    if free < wanted.minimum_free_bytes:
        raise StageFailureError("free-space", f"C: has {free} bytes free, {wanted.minimum_free_bytes} are required")
    return FreeSpaceResult(changed=False, free_bytes=free)


def get_inventory(run: StageRun, wanted: InventoryInput) -> InventoryResult:
    """What is on the machine now."""
    with run.machine.lock:
        inventory = take_inventory(run.machine, wanted.cache_roots, wanted.tool_roots, wanted.registry_paths)
    return InventoryResult(changed=False, inventory=inventory)
