"""What the process layer asks of the machine model: run one recognised script inside a booted machine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from infra.local.machine.disk import MachineDisk


class FaultCode(Protocol):
    """A fault that strikes, as infra.local.faults.Fault."""

    @property
    def code(self) -> str: ...


class FaultSource(Protocol):
    """Asked at the places where the real world fails (infra.local.faults.Faults)."""

    def should(self, point: str, key: str) -> FaultCode | None: ...


class Latency(Protocol):
    """How long things take (infra.local.latency.LatencyProfile)."""

    def seconds(self, operation: str, item: str = "") -> float: ...
    def knows(self, operation: str) -> bool: ...
    def wait(self, operation: str, stopping: threading.Event | None = None, *, since: float | None = None) -> None: ...


class GuestMachine(Protocol):
    """A booted machine. A new one is made at each boot, so whatever is not on `disk` is forgotten by a restart."""

    @property
    def disk(self) -> MachineDisk: ...

    @property
    def boot_time(self) -> datetime:
        """When this boot began, UTC."""
        ...

    @property
    def lock(self) -> threading.RLock:
        """Held while the registry is changed or saved: several processes of one machine run at the same time."""
        ...

    @property
    def free_bytes(self) -> int:
        """Free bytes on C:."""
        ...

    @property
    def network_disturbed(self) -> bool:
        """True on the boot on which the Hyper-V feature became active: WinRM comes up on it only with a delayed start."""
        ...

    outbound_allowed: bool
    """False when the network around the VM refuses outbound traffic; the guest's own firewall rule is part of the disk."""


@dataclass(frozen=True)
class ScriptContext:
    """What a running script sees besides its input."""

    machine: GuestMachine
    elevated: bool
    """True in a scheduled task (SYSTEM) and in Run Command; False in a WinRM shell, whose token servicing refuses."""
    stop_event: threading.Event
    """Set when the process is killed: shell deleted, terminated, power off. A script returns soon after, without a result."""
    emit_stdout: Callable[[str], None]
    """Write one line (without its line end)."""
    emit_stderr: Callable[[str], None]
    """Write text as it is."""
    shutdown: Callable[[bool, float], None]
    """shutdown(restart, delay_s): what shutdown.exe /r /t or /s /t does; returns at once."""
    vm_id: str = ""
    """ARM id of the VM, the key of fault points such as guest.sysprep."""
    run_id: str | None = None
    """The scheduled task's run, None outside a task. Its files are C:\\winvhd\\runs\\<run_id>.*"""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Run Command's parameters; empty otherwise."""
    running_tasks: Callable[[], frozenset[str]] = frozenset
    """Run ids of the stages that run as tasks now."""


class ScriptEngine(Protocol):
    """The machine model behind the scripts. One engine serves every machine of a host, from many threads.

    The host makes its own as `ModelEngine(outside, faults, latency)`; the engine asks the fault points guest.stage and guest.sysprep.
    """

    def boot(self, disk: MachineDisk, *, boot_time: datetime, outbound_allowed: bool) -> GuestMachine:
        """The machine on this disk, with everything done that waited for a restart (features, updates, renames).

        Called at each power-on, before the listener comes up. The specialize pass was done already when there is one to do.
        """
        ...

    def run(self, script: str, stage_input: dict[str, Any], ctx: ScriptContext) -> int:
        """The exit code of a script, named as in its StageContract; JSON lines go to ctx.emit_stdout as the guest contract says.

        The input is what stdin held, not yet validated. The host saves the disk after each run.
        """
        ...
