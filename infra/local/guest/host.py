"""The hypervisor of the stand-in: boots machines from disk folders, keeps their power state, carries Run Command to them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from images.errors import BuildError
from infra.local.contracts import MachineSpec, Outside, PowerState, RunCommandOutcome
from infra.local.guest.engine import FaultSource, Latency, ScriptEngine
from infra.local.guest.network import NetworkThread
from infra.local.guest.ports import PortClaims, PortInUseError
from infra.local.guest.provisioning import has_agent, is_generalized
from infra.local.guest.run_command import run_command
from infra.local.guest.running import RunningGuest
from infra.local.guest.script_gate import ScriptGate
from infra.local.guest.winrm import WinRm
from infra.local.machine.disk import MachineDisk
from infra.local.machine.engine import ModelEngine
from infra.local.machine.sysprep import SpecializeError, specialize

LOG = logging.getLogger(__name__)

SHUTDOWN_DELAY_SHARE = 0.15
"""shutdown.exe's /t is there to let an answer get out, which takes milliseconds on this machine."""
SHUTDOWN_LEAST_S = 0.3
"""Windows itself needs longer to go down once it was told to."""
AGENT_POLL_S = 0.05
STOP_WAIT_S = 15.0


class UnknownMachineError(BuildError):
    """No machine with this id was ever switched on here."""


@dataclass
class _Boot:
    """What exists from switching on to switching off."""

    disk: MachineDisk
    stopping: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    """Set once nothing of this boot runs any more."""
    guest: RunningGuest | None = None
    winrm: WinRm | None = None
    ready: bool = False
    specialized: bool = False
    """True when Windows' setup runs its specialize and OOBE passes first."""
    provisioned: bool = True
    """False when Azure waits for a report that this Windows does not send."""


@dataclass
class _Vm:
    spec: MachineSpec
    boot: _Boot | None = None
    last_boot_time: datetime | None = None
    run_commands: int = 0


class WsmanGuestHost:
    """Implements infra.local.contracts.GuestHost. Safe to call from any thread; `close` ends everything it started."""

    def __init__(
        self,
        disks_root: Path,
        outside: Outside,
        faults: FaultSource,
        latency: Latency,
        *,
        engine: ScriptEngine | None = None,
        gate: ScriptGate | None = None,
    ) -> None:
        self._disks_root = disks_root
        self._faults = faults
        self._latency = latency
        self._engine: ScriptEngine = engine or ModelEngine(outside, faults, latency)
        self._gate = gate or ScriptGate()
        self._network = NetworkThread()
        self._ports = PortClaims()
        self._vms: dict[str, _Vm] = {}
        self._lock = threading.RLock()
        self._listeners: list[Callable[[str, PowerState], None]] = []

    def power_on(self, spec: MachineSpec) -> None:
        """Switch a machine on; returns while it boots. Does nothing when it runs; raises OSError when the disk is not there."""
        with self._lock:
            vm = self._vms.setdefault(spec.vm_id.lower(), _Vm(spec))
            if vm.boot is not None:
                return
            vm.spec = spec
            disk = MachineDisk.open(self._disks_root / spec.disk_id)
            provisioned, specialized = True, False
            if spec.os_profile is not None:
                try:
                    specialize(disk, spec.os_profile, datetime.now(UTC))
                    specialized = True
                except SpecializeError as error:
                    # Windows boots as what it was, and Azure waits in vain for it to report.
                    LOG.warning("%s: %s", spec.vm_id, error.what)
                    provisioned = False
                disk.save()
            self._start_boot(vm, disk, provisioned=provisioned, specialized=specialized)

    def _start_boot(self, vm: _Vm, disk: MachineDisk, *, provisioned: bool = True, specialized: bool = False) -> None:
        boot = _Boot(disk, provisioned=provisioned, specialized=specialized)
        vm.boot = boot
        threading.Thread(target=self._boot, args=(vm, boot), name=f"boot {vm.spec.vm_id}", daemon=True).start()

    def _boot(self, vm: _Vm, boot: _Boot) -> None:
        vm_id = vm.spec.vm_id
        if boot.specialized:
            self._latency.wait("guest.specialize", boot.stopping)
        self._latency.wait("guest.boot", boot.stopping)
        if boot.stopping.is_set():
            return
        if fault := self._faults.should("guest.boot", vm_id):
            LOG.info("fault %s: %s does not come up", fault.code, vm_id)
            return
        try:
            if boot.disk.generation != vm.spec.generation:
                LOG.warning(
                    "%s is of generation %s, its disk of %s: the firmware finds nothing to boot",
                    vm_id,
                    vm.spec.generation,
                    boot.disk.generation,
                )
                return
            if is_generalized(boot.disk):
                LOG.warning("%s was generalized and got no osProfile: Windows waits for somebody to set it up", vm_id)
                return
            machine = self._engine.boot(boot.disk, boot_time=self._boot_time(vm), outbound_allowed=vm.spec.outbound_allowed)
            boot.disk.save()
        except Exception:
            # A machine whose boot fails is a machine that never answers; the log says why.
            LOG.exception("%s does not boot", vm_id)
            return

        def shutdown(restart: bool, delay_s: float) -> None:
            threading.Thread(target=self._shut_down, args=(vm, boot, restart, delay_s), name=f"shutdown {vm_id}", daemon=True).start()

        with self._lock:
            if boot.stopping.is_set():
                return
            boot.guest = RunningGuest(vm_id, machine, self._engine, self._gate, self._faults, shutdown, self._latency)
            boot.winrm = WinRm(boot.guest, self._network, self._ports, self._faults)
            try:
                boot.winrm.start_at_boot()
            except PortInUseError as error:
                LOG.warning("%s", error)
            boot.ready = boot.provisioned

    def _boot_time(self, vm: _Vm) -> datetime:
        # Windows tells its boot time in whole milliseconds or worse: two boots must differ all the same.
        now = datetime.now(UTC).replace(microsecond=0)
        if vm.last_boot_time is not None and now <= vm.last_boot_time:
            now = vm.last_boot_time + timedelta(seconds=1)
        vm.last_boot_time = now
        return now

    def _end_boot(self, vm: _Vm, boot: _Boot) -> bool:
        """End a boot; False when somebody else did. Called without the lock: what has to end may want the lock."""
        with self._lock:
            if vm.boot is not boot or boot.stopping.is_set():
                return False
            boot.stopping.set()
            boot.ready = False
            guest, winrm = boot.guest, boot.winrm
        if winrm is not None:
            winrm.stop()
        if guest is not None:
            guest.stop()
        boot.ended.set()
        return True

    def _shut_down(self, vm: _Vm, boot: _Boot, restart: bool, delay_s: float) -> None:
        shutting_down_s = max(SHUTDOWN_LEAST_S, delay_s * SHUTDOWN_DELAY_SHARE, self._latency.seconds("guest.shutdown"))
        if boot.stopping.wait(shutting_down_s) or not self._end_boot(vm, boot):
            return
        with self._lock:
            vm.boot = None
            if restart:
                self._start_boot(vm, MachineDisk.open(boot.disk.folder))
        if not restart:
            for listener in list(self._listeners):
                listener(vm.spec.vm_id, "stopped")

    def power_off(self, vm_id: str) -> None:
        """Switch a machine off; its disk is saved when this returns. Does nothing when it is off."""
        with self._lock:
            vm = self._vms.get(vm_id.lower())
        # After a restart of the stand-in every machine is off, and nobody has switched it on here yet.
        boot = vm.boot if vm is not None else None
        if vm is None or boot is None:
            return
        if not self._end_boot(vm, boot):
            boot.ended.wait(STOP_WAIT_S)
        with self._lock:
            if vm.boot is boot:
                vm.boot = None

    def restart(self, vm_id: str) -> None:
        """Restart a machine from outside; a machine that is off is switched on."""
        self.power_off(vm_id)
        vm = self._vm(vm_id)
        with self._lock:
            if vm.boot is None:
                self._start_boot(vm, MachineDisk.open(self._disks_root / vm.spec.disk_id))

    def power_state(self, vm_id: str) -> PowerState:
        """running from switching on to the end of a shutdown, whether Windows is up or not."""
        with self._lock:
            vm = self._vms.get(vm_id.lower())
            return "running" if vm is not None and vm.boot is not None else "stopped"

    def agent_ready(self, vm_id: str) -> bool:
        """True once Windows is up and Azure's guest agent in it runs."""
        with self._lock:
            vm = self._vms.get(vm_id.lower())
            boot = vm.boot if vm is not None else None
            return boot is not None and boot.ready and has_agent(boot.disk)

    def remove(self, vm_id: str) -> None:
        """Switch a machine off and forget it; its disk stays."""
        self.power_off(vm_id)
        with self._lock:
            self._vms.pop(vm_id.lower(), None)
        self._ports.release(vm_id.lower())

    def set_outbound_allowed(self, vm_id: str, allowed: bool) -> None:
        """What the network around the machine lets out, from now on."""
        with self._lock:
            vm = self._vm(vm_id)
            vm.spec = replace(vm.spec, outbound_allowed=allowed)
            if vm.boot is not None and vm.boot.guest is not None:
                vm.boot.guest.machine.outbound_allowed = allowed

    def run_command(
        self, vm_id: str, script: str, parameters: Mapping[str, str], protected_parameters: Mapping[str, str], timeout_s: float
    ) -> RunCommandOutcome:
        """Run a script through the guest agent; waits for the agent, and reports TimedOut when it does not answer in time."""
        vm = self._vm(vm_id)
        deadline = time.monotonic() + timeout_s
        while not self.agent_ready(vm_id):
            if time.monotonic() >= deadline:
                return RunCommandOutcome(1, "", "The guest agent did not report in time.", "TimedOut")
            time.sleep(AGENT_POLL_S)
        with self._lock:
            boot = vm.boot
            vm.run_commands += 1
            number = vm.run_commands
        if boot is None or boot.guest is None or boot.winrm is None:
            return RunCommandOutcome(1, "", "The machine stopped.", "Failed")
        return run_command(boot.guest, boot.winrm, number, script, parameters, protected_parameters, max(0.0, deadline - time.monotonic()))

    def on_power_change(self, listener: Callable[[str, PowerState], None]) -> None:
        """Call listener(vm_id, "stopped") whenever a machine switches itself off."""
        self._listeners.append(listener)

    def restart_winrm(self, vm_id: str) -> None:
        """Restart the WinRM service as `Restart-Service WinRM` does: shells end, scheduled tasks go on."""
        boot = self._vm(vm_id).boot
        if boot is not None and boot.winrm is not None:
            boot.winrm.stop()
            boot.winrm.start()

    def close(self) -> None:
        """Switch every machine off and end the network thread."""
        for vm_id in list(self._vms):
            self.power_off(vm_id)
        self._ports.release_all()
        self._network.close()

    def _vm(self, vm_id: str) -> _Vm:
        with self._lock:
            vm = self._vms.get(vm_id.lower())
        if vm is None:
            raise UnknownMachineError("the machine was never switched on", where=vm_id)
        return vm
