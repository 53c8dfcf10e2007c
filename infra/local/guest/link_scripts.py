r"""What the link's own scripts do in this guest.

Receive-StagePackage, Start-StageTask (with Invoke-StageTask behind it), Read-StageOutput, Remove-StageTask, Restart-Guest.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from images.stages.contract import NoInput, StageResult
from images.stages.link import (
    GUEST_FOLDER,
    READ_OUTPUT,
    REMOVE_TASK,
    START_TASK,
    ReadOutputInput,
    RemoveTaskInput,
    StartTaskInput,
    StartTaskResult,
)
from images.stages.system import RESTART_GUEST, RestartResult
from infra.local.guest.engine import GuestMachine
from infra.local.guest.process import GuestProcess
from infra.local.machine.scheduled_tasks import register_task, remove_task

if TYPE_CHECKING:
    from infra.local.guest.running import RunningGuest

MAX_PACKAGE_BYTES = 64 * 1024 * 1024
RESTART_DELAY_S = 2.0
"""shutdown.exe /r /t 2: the answer gets out before the machine goes down."""

LinkScript = Callable[["RunningGuest", dict[str, Any], GuestProcess], int]


def _result(process: GuestProcess, result: StageResult) -> int:
    process.write_line(json.dumps({"event": "result", **result.model_dump(mode="json")}))
    return 0


def _error(process: GuestProcess, code: str, message: str) -> int:
    process.write_line(json.dumps({"event": "error", "code": code, "message": message}))
    process.write_error(f"{message}\r\n")
    return 1


def receive_package(machine: GuestMachine, data: bytes, process: GuestProcess) -> int:
    r"""Unpack the zip of scripts into C:\winvhd; names that leave the folder are refused, and so is anything but scripts."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        for entry in entries:
            if "/" in entry.filename or "\\" in entry.filename or not entry.filename.lower().endswith((".ps1", ".psm1")):
                return _error(process, "bad-package", f"not a script of the package: {entry.filename}")
        if sum(entry.file_size for entry in entries) > MAX_PACKAGE_BYTES:
            return _error(process, "bad-package", "the package is too large")
        files = {entry.filename: archive.read(entry) for entry in entries}
    except zipfile.BadZipFile as error:
        return _error(process, "bad-package", f"standard input is not a zip file: {error}")
    changed = False
    for name, content in files.items():
        path = machine.disk.path(rf"{GUEST_FOLDER}\{name}")
        if not path.is_file() or path.read_bytes() != content:
            machine.disk.write(rf"{GUEST_FOLDER}\{name}", content)
            changed = True
    return _result(process, StageResult(changed=changed))


def _start_task(guest: RunningGuest, stage_input: dict[str, Any], process: GuestProcess) -> int:
    wanted = StartTaskInput.model_validate(stage_input)
    name = guest.script_name(rf"{GUEST_FOLDER}\{wanted.script}")
    if name is None:
        return _error(process, "unknown-script", f"{wanted.script} is not on the guest")
    # The task runs Invoke-StageTask.ps1, which runs the stage: both have to be good.
    refusal = guest.refusal("Invoke-StageTask.ps1") + guest.refusal(name)
    if refusal:
        process.write_error(refusal)
        return 1
    task_name = f"winvhd-{wanted.run_id}"
    with guest.machine.lock:
        # Only the name of the run is in the task: its input goes through a pipe and never touches the disk.
        arguments = rf"-NoProfile -NonInteractive -ExecutionPolicy Bypass -File {GUEST_FOLDER}\Invoke-StageTask.ps1 -RunId {wanted.run_id}"
        started = guest.start_task(wanted.run_id, name, json.dumps(wanted.input).encode(), wanted.timeout_s)
        if started:
            register_task(guest.machine.disk, rf"\{task_name}", "powershell.exe", arguments)
    guest.save()
    return _result(process, StartTaskResult(changed=started, task_name=task_name, started=started))


def _read_output(guest: RunningGuest, stage_input: dict[str, Any], process: GuestProcess) -> int:
    return _result(process, guest.tasks.read(ReadOutputInput.model_validate(stage_input), process.stop_event))


def _remove_task(guest: RunningGuest, stage_input: dict[str, Any], process: GuestProcess) -> int:
    wanted = RemoveTaskInput.model_validate(stage_input)
    changed, goes_on = guest.tasks.remove(wanted.run_id, stop=wanted.stop)
    if not goes_on:
        with guest.machine.lock:
            changed = remove_task(guest.machine.disk, rf"\winvhd-{wanted.run_id}") or changed
        guest.save()
    return _result(process, StageResult(changed=changed))


def _restart(guest: RunningGuest, stage_input: dict[str, Any], process: GuestProcess) -> int:
    NoInput.model_validate(stage_input)
    boot_time = guest.machine.boot_time.isoformat().replace("+00:00", "Z")
    _result(process, RestartResult(changed=True, boot_time=boot_time))
    guest.shutdown(True, RESTART_DELAY_S)
    return 0


def _checked(script: LinkScript) -> LinkScript:
    def run(guest: RunningGuest, stage_input: dict[str, Any], process: GuestProcess) -> int:
        try:
            return script(guest, stage_input, process)
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors(include_input=False))
            return _error(process, "bad-input", problems)

    return run


LINK_SCRIPTS: Mapping[str, LinkScript] = MappingProxyType(
    {
        contract.script: _checked(script)
        for contract, script in (
            (START_TASK, _start_task),
            (READ_OUTPUT, _read_output),
            (REMOVE_TASK, _remove_task),
            (RESTART_GUEST, _restart),
        )
    }
)
"""Script name -> what it does; everything else is the machine model's."""
