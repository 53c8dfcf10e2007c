"""Power actions of a VM: start, powerOff, deallocate, restart, generalize."""

from __future__ import annotations

from collections.abc import Callable

from infra.local.arm.cloud import Cloud
from infra.local.arm.errors import not_allowed
from infra.local.arm.exchange import COMPUTE, Answer, Call, Route
from infra.local.arm.machine_model import refuse_open_access
from infra.local.arm.machine_view import power_state
from infra.local.arm.machines import allocate, machine_spec
from infra.local.state import Json, Resource

TEMPLATE = f"{COMPUTE}/virtualMachines/{{name}}"


class MachinePower:
    """POST …/virtualMachines/{name}/{action}."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def routes(self) -> list[Route]:
        """One route an action."""
        actions = {"start": self._start, "powerOff": self._power_off, "deallocate": self._deallocate, "restart": self._restart}
        routes = [Route("POST", TEMPLATE, handler, action=name) for name, handler in actions.items()]
        return [*routes, Route("POST", TEMPLATE, self._generalize, action="generalize")]

    def _start(self, call: Call) -> Answer:
        vm = self._usable(call, "start")
        disk = self._cloud.require(vm.properties["storageProfile"]["osDisk"]["managedDisk"]["id"])
        refuse_open_access(disk)

        def work(current: Resource) -> None:
            if current.internal.pop("deallocated", False):
                allocate(self._cloud, current.properties["hardwareProfile"]["vmSize"], current.location)
            self._cloud.store.put(current)
            if self._cloud.guests.power_state(current.id.lower()) != "running":
                self._cloud.guests.power_on(machine_spec(self._cloud, current, None))

        return self._begin(call, "vm.start", vm, work)

    def _power_off(self, call: Call) -> Answer:
        vm = self._made(call, "powerOff")
        return self._begin(call, "vm.powerOff", vm, self._switch_off)

    def _deallocate(self, call: Call) -> Answer:
        vm = self._made(call, "deallocate")

        def work(current: Resource) -> None:
            self._switch_off(current)
            current.internal["deallocated"] = True
            self._cloud.store.put(current)

        return self._begin(call, "vm.deallocate", vm, work)

    def _switch_off(self, vm: Resource) -> None:
        # After a restart of the stand-in the guest host knows only the machines that were started since.
        if self._cloud.guests.power_state(vm.id.lower()) == "running":
            self._cloud.guests.power_off(vm.id.lower())

    def _restart(self, call: Call) -> Answer:
        vm = self._usable(call, "restart")
        if power_state(self._cloud, vm) != "running":
            raise not_allowed(f"Operation 'restart' is not allowed on VM '{vm.name}' since the VM is not running.")
        return self._begin(call, "vm.restart", vm, lambda current: self._cloud.guests.restart(current.id.lower()))

    def _generalize(self, call: Call) -> Answer:
        vm = self._made(call, "generalize")
        state = power_state(self._cloud, vm)
        if state not in ("stopped", "deallocated"):
            raise not_allowed(
                f"Operation 'generalize' is not allowed on VM '{vm.name}' since the VM is {state}; stop or deallocate it first."
            )
        vm.internal["generalized"] = True
        self._cloud.store.put(vm)
        return Answer(200)

    def _made(self, call: Call, action: str) -> Resource:
        vm = self._cloud.require(call.resource_id)
        if not vm.internal.get("made"):
            raise not_allowed(f"Operation '{action}' is not allowed on VM '{vm.name}' since it was never provisioned.")
        return vm

    def _usable(self, call: Call, action: str) -> Resource:
        vm = self._made(call, action)
        if vm.internal.get("generalized"):
            raise not_allowed(f"Operation '{action}' is not allowed on VM '{vm.name}' since the VM is generalized.")
        return vm

    def _begin(self, call: Call, operation: str, vm: Resource, work: Callable[[Resource], None]) -> Answer:
        def run() -> Json | None:
            # Read again: tags and the like may have changed since the request came in.
            work(self._cloud.require(vm.id))
            return None

        return self._cloud.begin(call, operation, vm.id, run)
