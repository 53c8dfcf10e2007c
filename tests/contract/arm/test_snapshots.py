"""Snapshots as checkpoints need them: what a copy takes over, what it refuses, and what a failed one is worth."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from infra.local.faults import Fault, FaultPlan, FaultRule
from tests.contract.arm.conftest import IMAGE_2022, StandIn, Workshop
from tests.contract.arm.test_refusals import attach, copy_of, refusal

GEN2 = {**IMAGE_2022, "sku": "2022-datacenter-core-smalldisk-g2"}


def snapshot_of(stand_in: StandIn, workshop: Workshop, source_id: str, name: str = "ckpt", **properties: object) -> Any:
    """A snapshot in the workshop's group."""
    body = copy_of(source_id)
    body["properties"] |= properties
    return stand_in.compute.snapshots.begin_create_or_update(workshop.group, name, body).result()


def test_copies_name_the_very_disk_they_were_made_from(stand_in: StandIn, workshop: Workshop) -> None:
    disk_id = workshop.disk_id(workshop.vm())
    source = stand_in.compute.disks.get(workshop.group, disk_id.rsplit("/", 1)[-1])
    snapshot = snapshot_of(stand_in, workshop, disk_id)
    assert snapshot.properties.creation_data.source_unique_id == source.properties.unique_id
    disk = stand_in.compute.disks.begin_create_or_update(workshop.group, "restored", copy_of(snapshot.id)).result()
    assert disk.properties.creation_data.source_unique_id == snapshot.properties.unique_id
    assert len({source.properties.unique_id, snapshot.properties.unique_id, disk.properties.unique_id}) == 3


def test_incremental_snapshots_of_one_disk_are_one_family(stand_in: StandIn, workshop: Workshop) -> None:
    one, two = (workshop.disk_id(workshop.vm(name)) for name in ("one", "two"))
    first, second, other = (
        snapshot_of(stand_in, workshop, source, name, incremental=True) for source, name in ((one, "a"), (one, "b"), (two, "c"))
    )
    whole = snapshot_of(stand_in, workshop, one, "d")
    assert first.properties.incremental_snapshot_family_id == second.properties.incremental_snapshot_family_id
    assert other.properties.incremental_snapshot_family_id != first.properties.incremental_snapshot_family_id
    assert whole.properties.incremental is False
    assert whole.properties.incremental_snapshot_family_id is None


def test_snapshot_of_a_running_vm_is_made(stand_in: StandIn, workshop: Workshop) -> None:
    vm = workshop.vm()
    assert stand_in.guests.power_state(vm.id.lower()) == "running"
    assert snapshot_of(stand_in, workshop, workshop.disk_id(vm)).properties.provisioning_state == "Succeeded"


def test_generation_is_not_taken_over_and_an_unnamed_one_does_not_boot_generation_2(stand_in: StandIn, workshop: Workshop) -> None:
    storage = {"imageReference": GEN2, "osDisk": {"createOption": "FromImage", "name": "gen2-os"}}
    vm = workshop.vm(storageProfile=storage, securityProfile={"securityType": "Standard"})
    snapshot = snapshot_of(stand_in, workshop, workshop.disk_id(vm))
    assert snapshot.properties.hyper_v_generation is None
    disks, machines = stand_in.compute.disks, stand_in.compute.virtual_machines
    for name, properties, generation in (("unnamed", {}, "V1"), ("named", {"hyperVGeneration": "V2"}, "V2")):
        body = copy_of(snapshot.id)
        body["properties"] |= properties
        disk = disks.begin_create_or_update(workshop.group, name, body).result()
        wish = workshop.vm_body(workshop.nic(f"{name}-nic"), osProfile=None, storageProfile=attach(disk.id))
        made = machines.begin_create_or_update(workshop.group, name, wish).result()
        assert stand_in.guests.specs[made.id.lower()].generation == generation


def test_repeated_put_changes_tags_and_never_the_content(stand_in: StandIn, workshop: Workshop) -> None:
    disk_id = workshop.disk_id(workshop.vm())
    first = snapshot_of(stand_in, workshop, disk_id)
    source = stand_in.cloud.require(disk_id).properties["uniqueId"]
    stand_in.disks.disks[source] = b"changed since"
    body = copy_of(disk_id) | {"tags": {"again": "yes"}}
    second = stand_in.compute.snapshots.begin_create_or_update(workshop.group, "ckpt", body).result()
    assert (second.tags, second.properties.unique_id) == ({"again": "yes"}, first.properties.unique_id)
    assert stand_in.disks.disks[first.properties.unique_id] != b"changed since"


def test_failed_snapshot_says_so_and_nothing_is_made_from_it(stand_in: StandIn, workshop: Workshop) -> None:
    disk_id = workshop.disk_id(workshop.vm())
    fault = Fault(code="InternalExecutionError", status=500)
    stand_in.cloud.faults.replace(FaultPlan(rules=(FaultRule(point="arm.operation", key="snapshot.create *", times=1, fault=fault),)))
    with pytest.raises(HttpResponseError):
        snapshot_of(stand_in, workshop, disk_id)
    failed = stand_in.compute.snapshots.get(workshop.group, "ckpt")
    assert failed.properties.provisioning_state == "Failed"
    assert refusal(lambda: stand_in.compute.disks.begin_create_or_update(workshop.group, "disk", copy_of(failed.id)).result()) == (
        409,
        "OperationNotAllowed",
    )
    again = snapshot_of(stand_in, workshop, disk_id)
    assert again.properties.provisioning_state == "Succeeded"
    assert stand_in.disks.exists(again.properties.unique_id)


def test_snapshot_that_is_being_deleted_says_so(stand_in: StandIn, workshop: Workshop) -> None:
    snapshot = snapshot_of(stand_in, workshop, workshop.disk_id(workshop.vm()))
    entered, leave = threading.Event(), threading.Event()
    removed = stand_in.disks.delete

    def slowly(disk_id: str) -> None:
        entered.set()
        assert leave.wait(20)
        removed(disk_id)

    stand_in.disks.delete = slowly  # type: ignore[method-assign]
    try:
        deleting = stand_in.compute.snapshots.begin_delete(workshop.group, "ckpt")
        assert entered.wait(20)
        seen = stand_in.compute.snapshots.get(workshop.group, "ckpt")
        assert seen.properties.provisioning_state == "Deleting"
        assert refusal(lambda: stand_in.compute.disks.begin_create_or_update(workshop.group, "disk", copy_of(snapshot.id)).result()) == (
            409,
            "OperationNotAllowed",
        )
    finally:
        leave.set()
        del stand_in.disks.delete
    deleting.result()
    with pytest.raises(ResourceNotFoundError):
        stand_in.compute.snapshots.get(workshop.group, "ckpt")


def test_restored_disk_may_be_larger_but_not_smaller(stand_in: StandIn, workshop: Workshop) -> None:
    snapshot = snapshot_of(stand_in, workshop, workshop.disk_id(workshop.vm()))
    larger, smaller = copy_of(snapshot.id), copy_of(snapshot.id)
    larger["properties"]["diskSizeGB"], smaller["properties"]["diskSizeGB"] = 64, 20
    disks = stand_in.compute.disks
    assert disks.begin_create_or_update(workshop.group, "larger", larger).result().properties.disk_size_gb == 64
    assert refusal(lambda: disks.begin_create_or_update(workshop.group, "smaller", smaller).result()) == (400, "InvalidParameter")
