"""What the parts of the stand-in cloud promise each other: ARM front, guest host, disk store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

PowerState = Literal["running", "stopped"]


@dataclass(frozen=True)
class BaseImageReference:
    """A marketplace image with its exact version and Hyper-V generation (V1, V2)."""

    publisher: str
    offer: str
    sku: str
    version: str
    generation: str


@dataclass(frozen=True)
class OsProfile:
    """Given when Windows is to run its specialize pass: a new machine name and administrator."""

    computer_name: str
    admin_username: str
    admin_password: str = field(repr=False)


@dataclass(frozen=True)
class MachineSpec:
    """A VM about to be switched on. disk_id names a folder of the disk store."""

    vm_id: str
    """ARM resource id, lower case."""
    disk_id: str
    generation: str
    secure_boot: bool
    os_disk_gib: int
    os_profile: OsProfile | None
    """None when an existing disk is attached."""
    outbound_allowed: bool = True


@dataclass(frozen=True)
class RunCommandOutcome:
    """What managed Run Command reports; Azure keeps the last 4,096 bytes of each stream."""

    exit_code: int
    output: str
    error: str
    state: Literal["Succeeded", "Failed", "TimedOut"]


class DiskStore(Protocol):
    """Machine disks as folders (see infra.local.machine.disk) and their exchange with real VHD files."""

    def create_from_base(self, disk_id: str, base: BaseImageReference, size_gib: int) -> None: ...
    def copy(self, source_id: str, target_id: str, size_gib: int) -> None: ...
    def import_vhd(self, vhd: Path, disk_id: str, generation: str, size_gib: int) -> None: ...
    def export_vhd(self, disk_id: str, target: Path) -> None: ...
    def delete(self, disk_id: str) -> None: ...
    def exists(self, disk_id: str) -> bool: ...


class GuestHost(Protocol):
    """The hypervisor: boots machines from disk folders and answers for their power state."""

    def power_on(self, spec: MachineSpec) -> None: ...
    def power_off(self, vm_id: str) -> None: ...
    def restart(self, vm_id: str) -> None: ...
    def power_state(self, vm_id: str) -> PowerState: ...
    def agent_ready(self, vm_id: str) -> bool: ...
    def remove(self, vm_id: str) -> None: ...
    def set_outbound_allowed(self, vm_id: str, allowed: bool) -> None: ...
    def run_command(
        self, vm_id: str, script: str, parameters: Mapping[str, str], protected_parameters: Mapping[str, str], timeout_s: float
    ) -> RunCommandOutcome: ...
    def on_power_change(self, listener: Callable[[str, PowerState], None]) -> None: ...


@dataclass(frozen=True)
class Outside:
    """The stand-in's Internet: `https://host/path` is served at `{gateway}/host/path`."""

    gateway: str

    def route(self, url: str) -> str:
        """The address on this machine that answers for a public URL; addresses on this machine stay as they are."""
        scheme, _, rest = url.partition("://")
        if rest.startswith(("127.0.0.1", "localhost")) or not scheme.startswith("http"):
            return url
        return f"{self.gateway.rstrip('/')}/{rest}"
