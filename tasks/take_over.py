"""A VM that a killed attempt of the same build left: the next attempt goes on in it, beside whatever the guest is still doing.

Stages run under names that are the same for every attempt, so that one that is still running is followed and not started again.
"""

from __future__ import annotations

from collections.abc import Callable

from images.plan import BuildPlan
from infra.azure.build_vm import delete_vm, find_vm, tag_vm, vm_tags
from infra.azure.checkpoint_state import Checkpoint
from infra.azure.disk_capture import disk_unique_id
from infra.azure.resource_group import group_name
from infra.azure.vm_power import power_state, start
from infra.azure.vm_request import BuildVm
from tasks.build import Build

_PLAN = "plan"
_START = "start"
_PHASE = "phase"
_BASE = "base-image"
_LAYERS = "layers"
_LAST = "last-layer"


def begin_tags(plan: BuildPlan, start: Checkpoint | None) -> dict[str, str]:
    """Tags that tell a later attempt what a new build VM is for: which layers it will get, and what it began with."""
    begun = start.fingerprint if start is not None else _BASE
    return {_PLAN: _key(plan), _START: begun, _PHASE: _LAST if begun == _key(plan) else _LAYERS}


def _key(plan: BuildPlan) -> str:
    """The fingerprint of the highest layer that is saved: it tells all below."""
    return next(layer.fingerprint for layer in reversed(plan.layers) if layer.reusable)


def end_take_over(build: Build, vm: BuildVm) -> None:
    """Nobody may go on in this VM any more: the last layer ends in a disk that starts no build. Raises CloudError."""
    tag_vm(build.cloud, vm, **{_PHASE: _LAST})


def can_be_taken_over(build: Build, plan: BuildPlan) -> bool:
    """True when an earlier attempt of this build left a build VM with layers of this plan. Raises CloudError."""
    vm = find_vm(build.cloud, build.build_id)
    return vm is not None and _is_of(vm_tags(build.cloud, vm), plan) and power_state(build.cloud, vm) in {"running", "stopped"}


def take_over(build: Build, plan: BuildPlan, at: Checkpoint | None, on_event: Callable[[str], None]) -> BuildVm | None:
    """The VM that an earlier attempt left, running, when it holds at least the layers up to `at`; one that does not is deleted.

    None when there is none. Raises CloudError.
    """
    cloud = build.cloud
    vm = find_vm(cloud, build.build_id)
    if vm is None:
        return None
    tags, state = vm_tags(cloud, vm), power_state(cloud, vm)
    usable = _is_of(tags, plan) and state in {"running", "stopped"} and _holds(build, vm, tags, at)
    if not usable:
        on_event(f"VM {vm.name} of an earlier attempt is {state}, and not where this one starts: deleting it")
        delete_vm(cloud, vm.resource_group, vm.name)
        return None
    if state == "stopped":
        # Its attempt ended while it was saving a layer.
        start(cloud, vm)
    on_event(f"going on in VM {vm.name} of an earlier attempt")
    return vm


def delete_test_vms(build: Build) -> None:
    """Delete what an earlier attempt left beside its build VM: tests begin anew. Raises CloudError."""
    group = group_name(build.cloud.profile.resource_group_prefix, build.build_id)
    for role in ("test", "plain"):
        delete_vm(build.cloud, group, role)


def _is_of(tags: dict[str, str], plan: BuildPlan) -> bool:
    return tags.get(_PLAN) == _key(plan) and tags.get(_PHASE) == _LAYERS


def _holds(build: Build, vm: BuildVm, tags: dict[str, str], at: Checkpoint | None) -> bool:
    if at is None:
        return tags.get(_START) == _BASE
    # It began there, or the checkpoint was made from its own disk.
    return tags.get(_START) == at.fingerprint or (bool(at.source_unique_id) and at.source_unique_id == disk_unique_id(build.cloud, vm))
