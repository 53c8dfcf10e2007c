r"""Managed Run Command: the guest agent runs a script as SYSTEM, before there is any other way in.

It keeps the last 4,096 bytes of each stream and leaves its status below C:\Packages\Plugins
(https://learn.microsoft.com/en-us/azure/virtual-machines/windows/run-command-managed).
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from pydantic import ValidationError

from images.stages.boot import ENABLE_REMOTING, RemotingInput
from infra.local.contracts import RunCommandOutcome
from infra.local.guest.process import GuestProcess
from infra.local.guest.provisioning import computer_name
from infra.local.guest.remoting import enable_remoting, remove_remoting
from infra.local.guest.running import RunningGuest
from infra.local.guest.winrm import PortInUseError, WinRm
from infra.local.machine.disk import MachineDisk

KEPT_BYTES = 4096
HANDLER_FOLDER = r"C:\Packages\Plugins\Microsoft.CPlat.Core.RunCommandHandlerWindows\2.0.14"
GUEST_LOG = "Get-GuestLog.ps1"
SETUP_LOGS = (r"C:\Windows\System32\Sysprep\Panther\setuperr.log", r"C:\Windows\System32\Sysprep\Panther\setupact.log")


def run_command(
    guest: RunningGuest,
    winrm: WinRm,
    number: int,
    script: str,
    plain_parameters: Mapping[str, str],
    protected_parameters: Mapping[str, str],
    timeout_s: float,
) -> RunCommandOutcome:
    """Run one of the scripts that this guest knows, after the gate; anything else fails with the gate's reasons."""
    refusals = {name: guest.gate.refusal(name, script, "") for name in (ENABLE_REMOTING.script, GUEST_LOG)}

    def main(process: GuestProcess) -> int:
        # PowerShell's parameter names have no case.
        parameters = {name.lower(): value for name, value in plain_parameters.items()}
        if not refusals[ENABLE_REMOTING.script]:
            return _first_contact(
                guest, winrm, {**parameters, **{name.lower(): value for name, value in protected_parameters.items()}}, process
            )
        if not refusals[GUEST_LOG]:
            return _guest_log(guest.machine.disk, int(parameters.get("maximumbytes", str(KEPT_BYTES))), process)
        process.write_error(refusals[ENABLE_REMOTING.script])
        return 1

    process = guest.launch(main, "run command")
    ended = process.join(timeout_s)
    if not ended:
        process.kill()
    chunks, exit_code = process.take(1 << 30)
    output, errors = (b"".join(data for name, data in chunks if name == stream)[-KEPT_BYTES:] for stream in ("stdout", "stderr"))
    code = 1 if exit_code is None else exit_code
    _leave_status(guest, number, code)
    return RunCommandOutcome(
        exit_code=code,
        output=output.decode("utf-8", "replace"),
        error=errors.decode("utf-8", "replace"),
        state="TimedOut" if not ended else "Succeeded" if code == 0 else "Failed",
    )


def _leave_status(guest: RunningGuest, number: int, exit_code: int) -> None:
    status = [{"version": "1.0", "status": {"operation": "Command execution finished", "code": exit_code, "status": "success"}}]
    guest.machine.disk.write(rf"{HANDLER_FOLDER}\Status\{number}.status", json.dumps(status).encode())


def _first_contact(guest: RunningGuest, winrm: WinRm, given: dict[str, str], process: GuestProcess) -> int:
    password = given.pop("password", "")
    try:
        wanted = RemotingInput.model_validate({**given, "port": int(given.get("port", ""))})
    except (ValidationError, ValueError) as error:
        process.write_error(f"the parameters are wrong: {type(error).__name__}\r\n")
        return 1
    if not password:
        process.write_error("Cannot process command because of one or more missing mandatory parameters: Password.\r\n")
        return 1
    winrm.stop()
    with guest.machine.lock:
        result = enable_remoting(guest.machine.disk, wanted, password, computer_name(guest.machine.disk))
    try:
        winrm.start()
    except PortInUseError as error:
        with guest.machine.lock:
            remove_remoting(guest.machine.disk, account=wanted.account, thumbprint=result.thumbprint)
        process.write_line(json.dumps({"event": "error", "code": "first-contact", "message": error.what}))
        process.write_error(f"{error.what}\r\n")
        return 1
    guest.save()
    process.write_line(json.dumps({"event": "result", **result.model_dump(mode="json")}))
    return 0


def _guest_log(disk: MachineDisk, limit_bytes: int, process: GuestProcess) -> int:
    share = (limit_bytes - 200) // len(SETUP_LOGS)
    for name in SETUP_LOGS:
        file = disk.path(name)
        if file.is_file():
            process.write_line(f"==> {name}")
            process.write_line(file.read_bytes()[-share:].decode("utf-8", "replace"))
    return 0
