"""What a boot has to know about the Windows on a disk: is it set up, what is it called, is Azure's agent there."""

from __future__ import annotations

from infra.local.machine.base import GENERALIZED
from infra.local.machine.disk import MachineDisk
from infra.local.machine.model import COMPUTER_NAME, SETUP_STATE
from infra.local.machine.services import AUTO, service_start
from infra.local.machine.sysprep import AGENT_SERVICES


def is_generalized(disk: MachineDisk) -> bool:
    """True while this Windows waits for its specialize pass."""
    key = disk.key(SETUP_STATE)
    return key is not None and key.get("ImageState") == GENERALIZED


def computer_name(disk: MachineDisk) -> str:
    """The machine's name; a generalized machine has none of its own yet."""
    key = disk.key(rf"{COMPUTER_NAME}\ComputerName")
    name = key.get("ComputerName") if key else None
    return name if isinstance(name, str) and name else "MINWINPC"


def has_agent(disk: MachineDisk) -> bool:
    """True when Azure's guest agent is installed and starts by itself; preparing sysprep removes it."""
    return all(service_start(disk, service) == AUTO for service in AGENT_SERVICES)
