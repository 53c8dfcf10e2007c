"""Power and lifecycle of a VM: start, stop, deallocate, restart, generalize."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from images.errors import CloudError
from infra.azure.refusals import refusals
from infra.azure.session import Cloud
from infra.azure.vm_request import BuildVm

if TYPE_CHECKING:
    from azure.core.polling import LROPoller

    from infra.azure.polling import BoundedPolling

POWER_DEADLINE_S = 1800
PowerState = Literal["starting", "running", "stopping", "stopped", "deallocating", "deallocated"]


def start(cloud: Cloud, vm: BuildVm) -> None:
    """Start the VM. Raises CloudError, AllocationError when a deallocated VM finds no room."""
    _finish(cloud, vm, "start", lambda polling: cloud.compute.virtual_machines.begin_start(vm.resource_group, vm.name, polling=polling))


def power_off(cloud: Cloud, vm: BuildVm, *, skip_shutdown: bool = False) -> None:
    """Stop the VM and keep its place; Windows shuts down cleanly unless skip_shutdown. Raises CloudError."""
    virtual_machines = cloud.compute.virtual_machines
    _finish(
        cloud,
        vm,
        "stop",
        lambda polling: virtual_machines.begin_power_off(vm.resource_group, vm.name, skip_shutdown=skip_shutdown, polling=polling),
    )


def deallocate(cloud: Cloud, vm: BuildVm) -> None:
    """Stop the VM and give its place up, which frees its disks. Raises CloudError."""
    virtual_machines = cloud.compute.virtual_machines
    _finish(cloud, vm, "deallocate", lambda polling: virtual_machines.begin_deallocate(vm.resource_group, vm.name, polling=polling))


def restart(cloud: Cloud, vm: BuildVm) -> None:
    """Restart the VM. Raises CloudError."""
    _finish(cloud, vm, "restart", lambda polling: cloud.compute.virtual_machines.begin_restart(vm.resource_group, vm.name, polling=polling))


def generalize(cloud: Cloud, vm: BuildVm) -> None:
    """Mark the VM as generalized: only a flag in Azure, after sysprep has done the work; it can not be started again. Raises CloudError."""
    with refusals(f"mark VM {vm.name} as generalized"):
        cloud.compute.virtual_machines.generalize(vm.resource_group, vm.name)


def power_state(cloud: Cloud, vm: BuildVm) -> PowerState | None:
    """The VM's power state; None while Azure does not know it. Raises CloudError."""
    with refusals(f"read the power state of VM {vm.name}"):
        view = cloud.compute.virtual_machines.instance_view(vm.resource_group, vm.name)
    codes = [status.code or "" for status in view.statuses or ()]
    for state in ("starting", "running", "stopping", "stopped", "deallocating", "deallocated"):
        if f"PowerState/{state}" in codes:
            return state
    return None


def wait_for_power_state(cloud: Cloud, vm: BuildVm, wanted: PowerState, *, timeout_s: float) -> None:
    """Return once the VM is in the wanted state; CloudError with code PowerStateTimeout and the last state seen when it never is."""
    ends_at = time.monotonic() + timeout_s
    while (state := power_state(cloud, vm)) != wanted:
        if time.monotonic() + cloud.profile.poll_interval_s > ends_at:
            raise CloudError(
                f"VM {vm.name} is {state or 'in no known power state'} after {timeout_s:.0f} s, not {wanted}",
                code="PowerStateTimeout",
                hint="a VM that should shut itself down hangs in Windows: its setup logs are read from the stopped disk",
            )
        cloud.wait.pause()


def _finish(cloud: Cloud, vm: BuildVm, verb: str, begin: Callable[[BoundedPolling], LROPoller[None]]) -> None:
    cloud.wait.finish(f"{verb} VM {vm.name}", begin, deadline_s=POWER_DEADLINE_S)
