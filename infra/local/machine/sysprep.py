r"""Sysprep and the first boot after it: what generalize takes from an installation, and what specialize gives it back.

States: SOFTWARE\Microsoft\Windows\CurrentVersion\Setup\State, ImageState
(https://learn.microsoft.com/en-us/windows-hardware/manufacture/desktop/windows-setup-states). Logs:
C:\Windows\System32\Sysprep\Panther\setupact.log and setuperr.log.
"""

from __future__ import annotations

from datetime import datetime

from images.errors import BuildError
from infra.local.contracts import OsProfile
from infra.local.machine import services
from infra.local.machine.accounts import set_administrator
from infra.local.machine.base import GENERALIZED
from infra.local.machine.disk import MachineDisk
from infra.local.machine.model import COMPUTER_NAME, CURRENT_VERSION, SETUP_STATE

COMPLETE = "IMAGE_STATE_COMPLETE"
UNDEPLOYABLE = "IMAGE_STATE_UNDEPLOYABLE"
PANTHER = r"C:\Windows\System32\Sysprep\Panther"
AGENT_SERVICES = ("WindowsAzureGuestAgent", "RdAgent")
SYSPREP_PROVIDERS = r"HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Setup\SysPrepExternal\Generalize"
_UNATTEND = (
    r"C:\Windows\Panther\unattend.xml",
    r"C:\Windows\Panther\Unattend\unattend.xml",
    r"C:\Windows\System32\Sysprep\unattend.xml",
    r"C:\Windows\System32\Sysprep\Panther\unattend.xml",
)


class SpecializeError(BuildError):
    """Windows can not run its specialize pass on this disk."""


class SysprepStuckError(Exception):
    """Generalizing does not come to its end; the logs are on the disk."""


def _log(disk: MachineDisk, name: str, now: datetime, lines: tuple[str, ...]) -> None:
    stamp = now.strftime("%Y-%m-%d %H:%M:%S")
    disk.write(rf"{PANTHER}\{name}", "".join(f"{stamp}, {line}\r\n" for line in lines).encode())


def remove_agents(disk: MachineDisk) -> tuple[str, ...]:
    """Stop and delete Azure's agents and take them out of sysprep, which might not end otherwise; the services that were there."""
    key = disk.make_key(SYSPREP_PROVIDERS)
    for name, _, data in list(key.values.values()):
        if "VMAgentDisabler.dll" in str(data):
            key.remove_value(name)
    return tuple(name for name in AGENT_SERVICES if services.remove_service(disk, name))


def generalize(disk: MachineDisk, now: datetime, *, stuck: bool) -> str:
    """Run sysprep /oobe /generalize /mode:vm: the image state it reaches; SysprepStuckError when a provider never ends."""
    for path in _UNATTEND:
        disk.path(path).unlink(missing_ok=True)
    started = ("Info       SYSPRP ========================================================", "Info       SYSPRP Sysprep /generalize begins")
    if stuck:
        disk.make_key(SETUP_STATE).set("ImageState", UNDEPLOYABLE)
        waiting = "Info       SYSPRP ActionPlatform::LaunchModule: Executing method 'Sysprep_Generalize_Wuaueng'"
        _log(disk, "setupact.log", now, (*started, waiting))
        _log(disk, "setuperr.log", now, ("Error      SYSPRP Sysprep_Generalize_Wuaueng: waiting for the update service to stop",))
        raise SysprepStuckError("sysprep does not end: Sysprep_Generalize_Wuaueng waits for the update service")
    disk.make_key(SETUP_STATE).set("ImageState", GENERALIZED)
    names = disk.make_key(COMPUTER_NAME)
    for part in ("ComputerName", "ActiveComputerName"):
        names.make(part).set("ComputerName", "MINWINPC")
    _log(disk, "setupact.log", now, (*started, "Info       SYSPRP Sysprep /generalize ended: " + GENERALIZED))
    _log(disk, "setuperr.log", now, ())
    return GENERALIZED


def specialize(disk: MachineDisk, os_profile: OsProfile, now: datetime) -> None:
    """First boot of a generalized disk with an osProfile: new name, administrator, Azure's agents.

    SpecializeError when the disk is not generalized: Azure gives up on such a VM after a long wait (OSProvisioningTimedOut).
    """
    state = disk.make_key(SETUP_STATE).get("ImageState")
    if state != GENERALIZED:
        raise SpecializeError(
            f"the disk is not generalized, its image state is {state!r}", hint="attach it without osProfile, or generalize it first"
        )
    names = disk.make_key(COMPUTER_NAME)
    for part in ("ComputerName", "ActiveComputerName"):
        names.make(part).set("ComputerName", os_profile.computer_name)
    set_administrator(disk, os_profile.admin_username, os_profile.admin_password)
    for name in AGENT_SERVICES:
        services.set_service(disk, name, services.AUTO, image_path=rf"C:\WindowsAzure\Packages\{name}.exe")
    disk.make_key(SYSPREP_PROVIDERS).set("VMAgentDisabler", r"C:\WindowsAzure\VMAgentDisabler.dll,Sysprep_Generalize")
    disk.make_key(CURRENT_VERSION).set("InstallDate", int(now.timestamp()))
    disk.write(r"C:\WindowsAzure\Logs\WaAppAgent.log", f"{now.isoformat()} agent started\r\n".encode())
    disk.path(r"C:\Packages\Plugins").mkdir(parents=True, exist_ok=True)
    disk.write(r"C:\Windows\Panther\UnattendGC\setupact.log", f"{now.isoformat()} specialize and oobeSystem done\r\n".encode())
    disk.make_key(SETUP_STATE).set("ImageState", COMPLETE)


def log_tails(disk: MachineDisk, characters: int = 2000) -> str:
    """Ends of setuperr.log and setupact.log."""
    tails = []
    for name in ("setuperr.log", "setupact.log"):
        file = disk.path(rf"{PANTHER}\{name}")
        text = file.read_text(encoding="utf-8") if file.exists() else ""
        tails.append(f"--- {name}\n{text[-characters:]}")
    return "\n".join(tails)
