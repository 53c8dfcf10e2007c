"""VMs of a build: what to ask for, and the resource group that owns them all."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from images.errors import AllocationError, BuildError
from images.plan import BuildPlan
from infra.azure.build_vm import provision
from infra.azure.checkpoint_restore import restore_disk
from infra.azure.checkpoint_state import Checkpoint
from infra.azure.resource_group import delete_group, find_group
from infra.azure.vm_request import BuildVm, ExistingDisk, MakeSource, MarketplaceImage, Role, VmRequest, VmSource
from infra.guest.guest_port import guest_port
from tasks.build import Build
from tasks.progress import Step, run_logger
from tasks.step_task import step_task
from tasks.take_over import begin_tags, can_be_taken_over, delete_test_vms, take_over


def vm_request(
    build: Build, plan: BuildPlan, source: VmSource | MakeSource, *, role: Role, tags: Mapping[str, str] | None = None
) -> VmRequest:
    """The VM to ask for; its size and zone are the profile's matter."""
    request = VmRequest(
        source=source,
        generation=plan.base.generation.value,
        os_disk_gib=plan.os_disk_gib,
        # Where all guests share one address, each has a port of its own.
        winrm_port=build.cloud.profile.winrm_port or guest_port(),
        role=role,
        tags=tags or {},
    )
    address = build.cloud.profile.source_address
    return replace(request, source_address=address) if address else request


@step_task("provision-vm", "Provision the build VM")
def provision_vm(build: Build, plan: BuildPlan, start: Checkpoint | None = None) -> BuildVm:
    """The build VM: one that an earlier attempt left, if it is at that place; else a new one, from a checkpoint or the plan's base image.

    Raises AllocationError when no size or zone has room, CloudError for other refusals.
    """
    with build.timings.step("build VM") as step:
        build.slots.take("build", step.progress, build.must_go_on)
        vm = _build_vm(build, plan, start, step)
        build.slots.settle("build", vm.size, step.progress)
        return vm


def _build_vm(build: Build, plan: BuildPlan, start: Checkpoint | None, step: Step) -> BuildVm:
    left = take_over(build, plan, start, step.progress)
    if left is not None:
        step.outcome = "reused"
        return left
    tags = begin_tags(plan, start)
    if start is not None:
        return _restore(build, plan, start, tags, step)
    base = plan.base
    source = MarketplaceImage(base.publisher, base.offer, base.sku, base.version)
    return provision(build.cloud, vm_request(build, plan, source, role="build", tags=tags), build.tags, step.progress)


def _restore(build: Build, plan: BuildPlan, start: Checkpoint, tags: Mapping[str, str], step: Step) -> BuildVm:
    cloud = build.cloud
    # A disk is made in one zone, and only a VM there can attach it: with another zone goes another disk.
    zones = cloud.profile.zones or (None,)
    for number, zone in enumerate(zones, 1):

        def restored(group: str, zone: str | None = zone) -> ExistingDisk:
            name = f"build-os-{start.layer}-{secrets.token_hex(3)}"
            step.progress(f"disk from {start.name}" + (f" in zone {zone}" if zone else ""))
            return restore_disk(cloud, start, group, name, build.tags, zone=zone)

        try:
            return provision(cloud, vm_request(build, plan, restored, role="build", tags=tags), build.tags, step.progress)
        except AllocationError:
            if number == len(zones):
                raise
    raise AssertionError("unreachable: the last zone returns or raises")


@contextmanager
def resources_of(build: Build, plan: BuildPlan) -> Iterator[None]:
    """Own the build's resource group: what an earlier attempt left goes first, save a VM to go on in, and all goes at the end.

    A failing clean-up never hides the first error; the group's tags let the reaper finish the work.
    """
    left = find_group(build.cloud, build.build_id)
    if left is not None:
        with build.timings.step("delete what an earlier attempt left") as step:
            # The hook of a crashed or cancelled run may have begun to delete it; Azure takes its VM only some minutes later.
            going = left.properties is not None and left.properties.provisioning_state == "Deleting"
            if not going and can_be_taken_over(build, plan):
                step.progress("its build VM stays")
                delete_test_vms(build)
            else:
                delete_group(build.cloud, build.build_id, wait=True)
    failed = True
    try:
        yield
        failed = False
    finally:
        if failed:
            build.stopping.set()
        build.slots.give_back_all()
        try:
            with build.timings.step("delete the build's resources"):
                # Azure needs minutes for it, and goes on by itself.
                delete_group(build.cloud, build.build_id, wait=False)
        except BuildError as error:
            if not failed:
                raise
            run_logger().warning("could not delete the build's resource group; the reaper will, at its expiry: %s", error)
