"""The smallest disk store and guest host that keep the promises of infra.local.contracts, in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from infra.local.contracts import BaseImageReference, MachineSpec, PowerState, RunCommandOutcome

MIB = 1024 * 1024
VIRTUAL_BYTES = 8 * MIB


def write_fixed_vhd(target: Path, content: bytes) -> None:
    """A sparse fixed VHD of 8 MiB with the content at its start."""
    footer = bytearray(512)
    footer[:8] = b"conectix"
    footer[60:64] = (2).to_bytes(4, "big")
    with target.open("wb") as file:
        file.write(content)
        file.seek(VIRTUAL_BYTES)
        file.write(footer)


class MemoryDiskStore:
    """A disk is its content: a few bytes that say where it came from."""

    def __init__(self) -> None:
        self.disks: dict[str, bytes] = {}

    def create_from_base(self, disk_id: str, base: BaseImageReference, size_gib: int) -> None:
        self.disks[disk_id] = f"{base.sku} {base.version} {base.generation} {size_gib}".encode()

    def copy(self, source_id: str, target_id: str, size_gib: int) -> None:
        self.disks[target_id] = self.disks[source_id]

    def import_vhd(self, vhd: Path, disk_id: str, generation: str, size_gib: int) -> None:
        with vhd.open("rb") as file:
            self.disks[disk_id] = file.read(MIB).rstrip(b"\0")

    def export_vhd(self, disk_id: str, target: Path) -> None:
        write_fixed_vhd(target, self.disks[disk_id])

    def delete(self, disk_id: str) -> None:
        del self.disks[disk_id]

    def exists(self, disk_id: str) -> bool:
        return disk_id in self.disks


class MemoryGuestHost:
    """Machines that are on or off; a script's output is what `script_output` says, a script named "block" waits for `unblock`."""

    def __init__(self) -> None:
        self.running: dict[str, MachineSpec] = {}
        self.specs: dict[str, MachineSpec] = {}
        self.outbound: dict[str, bool] = {}
        self.received: list[tuple[str, dict[str, str], dict[str, str]]] = []
        self.unblock = threading.Event()
        self.never_ready = False

    def power_on(self, spec: MachineSpec) -> None:
        self.running[spec.vm_id] = self.specs[spec.vm_id] = spec
        self.outbound[spec.vm_id] = spec.outbound_allowed

    def power_off(self, vm_id: str) -> None:
        self.running.pop(vm_id)

    def restart(self, vm_id: str) -> None:
        assert vm_id in self.running

    def power_state(self, vm_id: str) -> PowerState:
        return "running" if vm_id in self.running else "stopped"

    def agent_ready(self, vm_id: str) -> bool:
        return vm_id in self.running and not self.never_ready

    def remove(self, vm_id: str) -> None:
        self.running.pop(vm_id, None)

    def set_outbound_allowed(self, vm_id: str, allowed: bool) -> None:
        self.outbound[vm_id] = allowed

    def run_command(
        self, vm_id: str, script: str, parameters: Mapping[str, str], protected_parameters: Mapping[str, str], timeout_s: float
    ) -> RunCommandOutcome:
        self.received.append((script, dict(parameters), dict(protected_parameters)))
        if script.startswith("block"):
            assert self.unblock.wait(20)
        if script.startswith("fail"):
            return RunCommandOutcome(1, "", "it broke", "Failed")
        return RunCommandOutcome(0, script.removeprefix("echo "), "", "Succeeded")

    def on_power_change(self, listener: Callable[[str, PowerState], None]) -> None:
        raise NotImplementedError
