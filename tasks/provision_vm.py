"""VMs of a build: what to ask for, and the resource group that owns them all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from prefect import task
from prefect.cache_policies import NO_CACHE

from images.errors import BuildError
from images.plan import BuildPlan
from infra.azure.build_vm import provision
from infra.azure.resource_group import delete_group, find_group
from infra.azure.vm_request import BuildVm, MarketplaceImage, Role, VmRequest, VmSource
from infra.prefect.server import free_port
from tasks.build import Build
from tasks.progress import run_logger


def guest_port(build: Build) -> int:
    """The port that the guest's listener will have; where all guests share one address, a free one."""
    return build.cloud.profile.winrm_port or free_port()


def vm_request(build: Build, plan: BuildPlan, source: VmSource, port: int, *, role: Role) -> VmRequest:
    """The VM to ask for; its size and zone are the profile's matter."""
    request = VmRequest(source=source, generation=plan.base.generation.value, os_disk_gib=plan.os_disk_gib, winrm_port=port, role=role)
    address = build.cloud.profile.source_address
    return replace(request, source_address=address) if address else request


@task(name="provision-vm", task_run_name="Provision the build VM", cache_policy=NO_CACHE, persist_result=False)
def provision_vm(build: Build, plan: BuildPlan, port: int) -> BuildVm:
    """The build VM from the plan's base image; raises AllocationError when no size or zone has room, CloudError for other refusals."""
    base = plan.base
    source = MarketplaceImage(base.publisher, base.offer, base.sku, base.version)
    with build.timings.step("build VM") as step:
        return provision(build.cloud, vm_request(build, plan, source, port, role="build"), build.tags, step.progress)


@contextmanager
def resources_of(build: Build) -> Iterator[None]:
    """Own the build's resource group: what an earlier attempt left goes first, and all goes at the end, however it ends.

    A failing clean-up never hides the first error; the group's tags let the reaper finish the work.
    """
    if find_group(build.cloud, build.build_id) is not None:
        with build.timings.step("delete what an earlier attempt left"):
            delete_group(build.cloud, build.build_id, wait=True)
    failed = True
    try:
        yield
        failed = False
    finally:
        if failed:
            build.stopping.set()
        try:
            with build.timings.step("delete the build's resources"):
                # Azure needs minutes for it and goes on by itself; the stand-in may be ended together with the command.
                delete_group(build.cloud, build.build_id, wait=build.cloud.profile.name == "local")
        except BuildError as error:
            if not failed:
                raise
            run_logger().warning("could not delete the build's resource group; the reaper will, at its expiry: %s", error)
