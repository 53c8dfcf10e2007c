"""A booted VM of the stand-in with its real scripts, gate and machine model, and what a build knows about it."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import SecretStr

from infra.guest.contact import BUILD_ACCOUNT, first_contact
from infra.guest.endpoint import GuestEndpoint
from infra.guest.limits import LinkLimits
from infra.local.contracts import BaseImageReference, MachineSpec, OsProfile, Outside, RunCommandOutcome
from infra.local.faults import Fault, FaultPlan, FaultRule, Faults
from infra.local.guest.host import WsmanGuestHost
from infra.local.latency import LatencyProfile
from infra.local.machine.accounts import set_account
from infra.local.machine.disk import MachineDisk

VM_ID = "/subscriptions/s/resourcegroups/rg/providers/microsoft.compute/virtualmachines/build"
BASE = BaseImageReference("MicrosoftWindowsServer", "WindowsServer", "2022-datacenter-core-smalldisk-g2", "20348.4529.251112", "V2")
HURRIED = LinkLimits(
    connect_s=2,
    operation_s=1,
    answer_s=4,
    reconnect_s=3,
    reconnect_pause_s=0.02,
    restart_s=8,
    restart_again_s=0.4,
    refused_s=0.3,
    ready_pause_s=0.05,
    poll_s=0.5,
    poll_pause_s=0.05,
    task_grace_s=0.2,
)
NOWHERE = "http://127.0.0.1:9"
LIMITS = HURRIED.model_copy(update={"restart_again_s": 5.0, "restart_s": 30.0, "reconnect_s": 10.0})


class BuildGuest:
    """One VM on a disk folder; a context manager that boots it and ends everything it started."""

    def __init__(self, base_disk: Path, disks: Path, latency: LatencyProfile | None = None, outside: str = NOWHERE) -> None:
        disks.mkdir(exist_ok=True)
        self.disk_folder = disks / "os"
        MachineDisk.open(base_disk).copy_to(self.disk_folder)
        self.faults = Faults()
        self.host = WsmanGuestHost(disks, Outside(outside), self.faults, latency or LatencyProfile())
        self.vm_id = VM_ID
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])

    def __enter__(self) -> BuildGuest:
        self.host.power_on(MachineSpec(VM_ID, "os", "V2", False, 30, OsProfile("build-vm", "azureadmin", secrets.token_urlsafe(16))))
        return self

    def __exit__(self, *_error: object) -> None:
        self.host.close()

    @property
    def disk(self) -> MachineDisk:
        """The disk as it is in its folder now."""
        return MachineDisk.open(self.disk_folder)

    def run_command(self, script: str, parameters: Mapping[str, str], protected: Mapping[str, SecretStr]) -> RunCommandOutcome:
        plain = {key: value.get_secret_value() for key, value in protected.items()}
        return self.host.run_command(self.vm_id, script, parameters, plain, 30)

    def contact(self) -> GuestEndpoint:
        return first_contact(self.run_command, "127.0.0.1", self.port, pause_s=0.1)

    def restore(self) -> None:
        """The disk goes on in another VM, as one made from a checkpoint: attached, without osProfile."""
        self.host.remove(self.vm_id)
        self.vm_id = f"{VM_ID}-restored"
        self.host.power_on(MachineSpec(self.vm_id, "os", "V2", False, 30, None))

    def copy_boots_while_off(self) -> str:
        """A VM on a copy of the disk as it is boots while this one is off, which is then on again; gives the copy's id."""
        self.host.power_off(self.vm_id)
        MachineDisk.open(self.disk_folder).copy_to(self.disk_folder.with_name("copy"))
        copy = f"{VM_ID}-copy"
        self.host.power_on(MachineSpec(copy, "copy", "V2", False, 30, None))
        wait_for(lambda: self.host.agent_ready(copy))
        self.host.power_on(MachineSpec(self.vm_id, "os", "V2", False, 30, None))
        return copy

    def expire_password(self) -> None:
        """The build account's password is not good any more, from the next request on."""
        boot = self.host._vms[self.vm_id.lower()].boot
        assert boot is not None
        with self.host._lock:
            set_account(boot.disk, BUILD_ACCOUNT, secrets.token_urlsafe(16))
        self.host.restart_winrm(self.vm_id)

    def tasks(self) -> frozenset[str]:
        """Run ids of the stages that run as tasks now."""
        boot = self.host._vms[self.vm_id.lower()].boot
        assert boot is not None
        assert boot.guest is not None
        return boot.guest.tasks.running()

    def fail(self, point: str, code: str, **options: int) -> None:
        self.faults.replace(FaultPlan(rules=(FaultRule(point=point, fault=Fault(code=code), **options),)))


def wait_for(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.02)
