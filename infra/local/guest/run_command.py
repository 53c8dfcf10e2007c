r"""Managed Run Command: the guest agent runs a script as SYSTEM, before there is any other way in.

It keeps the last 4,096 bytes of each stream and leaves the script and its status below C:\Packages\Plugins
(https://learn.microsoft.com/en-us/azure/virtual-machines/windows/run-command-managed). The agent counts a VM's commands from 1, and a
status file that is already there for a number answers in the place of the command: a new VM on a restored disk answers with stale status.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict

from pydantic import ValidationError

from images.stages.boot import ENABLE_REMOTING, RemotingInput
from images.stages.link import RUNS_FOLDER
from infra.guest.guest_log import GUEST_LOG
from infra.local.contracts import RunCommandOutcome
from infra.local.guest.ports import PortInUseError
from infra.local.guest.process import GuestProcess
from infra.local.guest.provisioning import computer_name
from infra.local.guest.remoting import enable_remoting, remove_remoting
from infra.local.guest.running import RunningGuest
from infra.local.guest.winrm import WinRm
from infra.local.machine.disk import MachineDisk
from infra.local.machine.sysprep import PANTHER

KEPT_BYTES = 4096
HANDLER_FOLDER = r"C:\Packages\Plugins\Microsoft.CPlat.Core.RunCommandHandlerWindows\2.0.14"
SETUP_LOGS = (("--- setuperr.log", rf"{PANTHER}\setuperr.log", 1), ("--- setupact.log", rf"{PANTHER}\setupact.log", 2))
"""Title, path, shares of the output."""


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
    stale = _left_status(guest.machine.disk, number)
    if stale is not None:
        return stale
    guest.machine.disk.write(rf"{HANDLER_FOLDER}\Downloads\script{number}.ps1", script.encode())
    refusals = {name: guest.gate.refusal(name, script, "") for name in (ENABLE_REMOTING.script, GUEST_LOG)}

    def main(process: GuestProcess) -> int:
        # PowerShell's parameter names have no case.
        parameters = {name.lower(): value for name, value in plain_parameters.items()}
        if not refusals[ENABLE_REMOTING.script]:
            return _first_contact(
                guest, winrm, {**parameters, **{name.lower(): value for name, value in protected_parameters.items()}}, process
            )
        if not refusals[GUEST_LOG]:
            return _guest_log(guest.machine.disk, parameters, process)
        process.write_error(refusals[ENABLE_REMOTING.script])
        return 1

    process = guest.launch(main, "run command")
    ended = process.join(timeout_s)
    if not ended:
        process.kill()
    chunks, exit_code = process.take(1 << 30)
    output, errors = (b"".join(data for name, data in chunks if name == stream)[-KEPT_BYTES:] for stream in ("stdout", "stderr"))
    code = 1 if exit_code is None else exit_code
    outcome = RunCommandOutcome(
        exit_code=code,
        output=output.decode("utf-8", "replace"),
        error=errors.decode("utf-8", "replace"),
        state="TimedOut" if not ended else "Succeeded" if code == 0 else "Failed",
    )
    _leave_status(guest.machine.disk, number, outcome)
    return outcome


def _status_file(number: int) -> str:
    return rf"{HANDLER_FOLDER}\Status\{number}.status"


def _leave_status(disk: MachineDisk, number: int, outcome: RunCommandOutcome) -> None:
    message = {"lang": "en-US", "message": json.dumps(asdict(outcome))}
    state = "success" if outcome.state == "Succeeded" else "error"
    status = {"operation": "Command execution finished", "code": outcome.exit_code, "status": state, "formattedMessage": message}
    disk.write(_status_file(number), json.dumps([{"version": "1.0", "status": status}]).encode())


def _left_status(disk: MachineDisk, number: int) -> RunCommandOutcome | None:
    """The outcome that an earlier life of this disk left under a number; None when there is none."""
    file = disk.path(_status_file(number))
    if not file.is_file():
        return None
    left = json.loads(file.read_text(encoding="utf-8"))[0]["status"]
    return RunCommandOutcome(**json.loads(left["formattedMessage"]["message"]))


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


def _guest_log(disk: MachineDisk, given: Mapping[str, str], process: GuestProcess) -> int:
    nonce, limit = given.get("nonce", ""), int(given.get("maximumbytes", str(KEPT_BYTES)))
    if not nonce:
        process.write_error("Cannot process command because of one or more missing mandatory parameters: Nonce.\r\n")
        return 1
    share = (limit - 300) // 5
    runs = sorted(disk.path(RUNS_FOLDER).glob("*.err"), key=lambda file: file.stat().st_mtime)
    parts = [(title, disk.path(name), length * share) for title, name, length in SETUP_LOGS]
    parts += [(f"--- runs\n{file.name}", file, share) for file in runs[-1:]]
    for title, file, length in parts:
        process.write_line(title)
        if file.is_file():
            process.write_line(file.read_bytes()[-length:].decode("utf-8", "replace"))
    process.write_line(nonce)
    return 0
