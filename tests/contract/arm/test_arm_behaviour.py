"""ARM itself: groups, tags, long-running operations, faults, lists, restart."""

from __future__ import annotations

import threading
import time
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest
from azure.core.exceptions import HttpResponseError
from azure.core.rest import HttpRequest

from infra.local.arm.app import recover
from infra.local.faults import Fault, FaultPlan, FaultRule
from infra.local.state import Resource, ResourceStore
from tests.contract.arm.conftest import IMAGE_2022, REGION, StandIn, Workshop


def strike(
    stand_in: StandIn, point: str, code: str, *, key: str = "*", status: int = 500, times: int = 1, retry_after_s: int | None = None
) -> None:
    rule = FaultRule(point=point, key=key, fault=Fault(code=code, status=status, retry_after_s=retry_after_s), times=times)
    httpx.put(f"{stand_in.url}/_standin/faults", content=FaultPlan(rules=(rule,)).model_dump_json()).raise_for_status()


def test_deleting_a_group_deletes_all_inside(stand_in: StandIn, workshop: Workshop) -> None:
    vm = workshop.vm()
    creation = {"createOption": "Copy", "sourceResourceId": workshop.disk_id(vm)}
    stand_in.compute.snapshots.begin_create_or_update(
        workshop.group, "snap", {"location": REGION, "properties": {"creationData": creation}}
    ).result()
    groups = stand_in.resources.resource_groups
    assert len(list(stand_in.resources.resources.list_by_resource_group(workshop.group))) == 6
    groups.begin_delete(workshop.group).result()
    assert groups.check_existence(workshop.group) is False
    assert vm.id.lower() not in stand_in.guests.running
    assert stand_in.cloud.store.find(under=f"/subscriptions/{stand_in.cloud.subscription_id}/resourceGroups/{workshop.group}") == []


def test_nothing_is_created_in_a_group_that_is_being_deleted(stand_in: StandIn, workshop: Workshop) -> None:
    workshop.vm()
    stand_in.compute.virtual_machine_run_commands.begin_create_or_update(
        workshop.group, "vm", "block", {"location": REGION, "properties": {"source": {"script": "block"}}}
    )
    held = stand_in.cloud.require_group(f"/subscriptions/{stand_in.cloud.subscription_id}/resourceGroups/{workshop.group}")
    held.properties["provisioningState"] = "Deleting"
    stand_in.cloud.store.put(held)
    with pytest.raises(HttpResponseError) as caught:
        workshop.nic("late")
    assert caught.value.error is not None
    assert caught.value.error.code == "ResourceGroupBeingDeleted"
    stand_in.guests.unblock.set()


def test_groups_and_resources_are_found_by_tag(stand_in: StandIn, workshop: Workshop) -> None:
    build_id = uuid.uuid4().hex
    stand_in.resources.resource_groups.create_or_update(workshop.group, {"location": REGION, "tags": {"Build-Id": build_id}})
    stand_in.network.network_security_groups.begin_create_or_update(
        workshop.group, "nsg", {"location": REGION, "tags": {"build-id": build_id}}
    ).result()
    text = f"tagName eq 'build-id' and tagValue eq '{build_id}'"
    assert [group.name for group in stand_in.resources.resource_groups.list(filter=text)] == [workshop.group]
    found = list(stand_in.resources.resources.list(filter=text))
    assert [(resource.name, resource.type) for resource in found] == [("nsg", "Microsoft.Network/networkSecurityGroups")]
    assert list(stand_in.resources.resources.list(filter="tagName eq 'build-id' and tagValue eq 'other'")) == []


def test_tags_are_kept_and_can_be_replaced(stand_in: StandIn, workshop: Workshop) -> None:
    groups = stand_in.network.network_security_groups
    groups.begin_create_or_update(workshop.group, "nsg", {"location": REGION, "tags": {"a": "1"}}).result()
    groups.update_tags(workshop.group, "nsg", {"tags": {"b": "2"}})
    assert groups.get(workshop.group, "NSG").tags == {"b": "2"}


def test_long_running_operation_is_polled_by_its_headers(stand_in: StandIn, workshop: Workshop) -> None:
    nic = workshop.nic()
    stand_in.guests.never_ready = True
    url = f"{stand_in.url}{nic.rsplit('/providers/', 1)[0]}/providers/Microsoft.Compute/virtualMachines/vm?api-version=2026-04-01"
    with httpx.Client() as client:
        accepted = client.put(url, json=workshop.vm_body(nic), headers={"x-ms-correlation-request-id": "abc"})
        assert accepted.status_code == 201
        assert accepted.json()["properties"]["provisioningState"] == "Creating"
        assert accepted.headers["x-ms-correlation-request-id"] == "abc"
        assert accepted.headers["x-ms-request-id"]
        poll = accepted.headers["azure-asyncoperation"]
        first = client.get(poll)
        assert first.json()["status"] == "InProgress"
        assert "retry-after" in first.headers
        assert client.put(url, json=workshop.vm_body(nic)).json()["error"]["code"] == "Conflict"
        while (answer := client.get(poll).json())["status"] == "InProgress":
            time.sleep(0.02)
        assert (answer["status"], answer["error"]["code"]) == ("Failed", "OSProvisioningTimedOut")
        assert client.get(url).json()["properties"]["provisioningState"] == "Failed"


def test_deletion_is_polled_by_location_until_it_is_gone(stand_in: StandIn, group: str) -> None:
    url = f"{stand_in.url}/subscriptions/{stand_in.cloud.subscription_id}/resourcegroups/{group}?api-version=2025-04-01"
    with httpx.Client() as client:
        accepted = client.delete(url)
        assert accepted.status_code == 202
        while client.get(accepted.headers["location"]).status_code == 202:
            time.sleep(0.02)
        assert client.get(url).json()["error"]["code"] == "ResourceGroupNotFound"


def test_refused_allocation_leaves_a_failed_vm_that_another_size_repairs(stand_in: StandIn, workshop: Workshop) -> None:
    strike(stand_in, "arm.vm.allocate", "AllocationFailed", key="standard_d4s_v5", status=409, times=9)
    nic = workshop.nic()
    machines = stand_in.compute.virtual_machines
    with pytest.raises(HttpResponseError, match="AllocationFailed"):
        machines.begin_create_or_update(workshop.group, "vm", workshop.vm_body(nic)).result()
    assert machines.get(workshop.group, "vm").provisioning_state == "Failed"
    body = workshop.vm_body(nic, hardwareProfile={"vmSize": "Standard_D8s_v5"})
    assert machines.begin_create_or_update(workshop.group, "vm", body).result().provisioning_state == "Succeeded"


def test_throttled_request_says_when_to_come_back(stand_in: StandIn, workshop: Workshop) -> None:
    strike(stand_in, "arm.request", "TooManyRequests", key="GET */virtualMachines*", status=429, retry_after_s=0, times=2)
    with stand_in.strict_compute() as strict, pytest.raises(HttpResponseError) as caught:
        list(strict.virtual_machines.list(workshop.group))
    assert caught.value.status_code == 429
    answer: Any = caught.value.response
    assert answer.headers["Retry-After"] == "0"
    # The real client's retry policy lives through the second one.
    assert list(stand_in.compute.virtual_machines.list(workshop.group)) == []
    counters = httpx.get(f"{stand_in.url}/_standin/status").json()["faults"]
    assert counters[0]["struck"] == 2


def test_operation_fault_fails_the_operation_with_its_code(stand_in: StandIn, workshop: Workshop) -> None:
    workshop.vm()
    strike(stand_in, "arm.operation", "InternalExecutionError", key="vm.deallocate *")
    with pytest.raises(HttpResponseError, match="InternalExecutionError"):
        stand_in.compute.virtual_machines.begin_deallocate(workshop.group, "vm").result()
    stand_in.compute.virtual_machines.begin_deallocate(workshop.group, "vm").result()


def test_wrong_fault_plan_is_refused(stand_in: StandIn) -> None:
    answer = httpx.put(f"{stand_in.url}/_standin/faults", json={"profile": "no-such-profile"})
    assert answer.status_code == 400
    assert "throttled" in answer.json()["error"]["message"]


def test_marketplace_lists_versions_whatever_the_spelling(stand_in: StandIn) -> None:
    images = stand_in.compute.virtual_machine_images
    names = (REGION, "microsoftwindowsserver", "WindowsServer2022", "2022-DATACENTER-core-smalldisk")
    versions = [image.name for image in images.list(*names)]
    assert IMAGE_2022["version"] in versions
    assert versions == sorted(versions, key=lambda version: [int(part) for part in version.split(".")])
    assert [image.name for image in images.list(*names, top=1, orderby="name desc")] == versions[-1:]
    image = images.get(*names, "latest")
    assert (image.name, image.hyper_v_generation) == (versions[-1], "V1")
    with pytest.raises(HttpResponseError):
        images.get(*names, "1.1.1")
    assert [offer.name for offer in images.list_offers(REGION, "MicrosoftWindowsServer")] == ["WindowsServer", "windowsserver2022"]


def test_sizes_and_usage_are_listed(stand_in: StandIn, workshop: Workshop) -> None:
    skus = list(stand_in.compute.resource_skus.list(filter=f"location eq '{REGION}'"))
    assert [sku.name for sku in skus] == ["Standard_D4s_v5", "Standard_D8s_v5"]
    before = {usage.name.value: usage.current_value for usage in stand_in.compute.usage.list(REGION)}
    workshop.vm()
    after = {usage.name.value: usage.current_value for usage in stand_in.compute.usage.list(REGION)}
    assert after["standardDSv5Family"] - before["standardDSv5Family"] == 4


def test_bad_json_is_refused_in_arms_shape(stand_in: StandIn, group: str) -> None:
    url = f"{stand_in.url}/subscriptions/{stand_in.cloud.subscription_id}/resourcegroups/{group}?api-version=1"
    request = HttpRequest("PUT", url, content=b"{", headers={"Content-Type": "application/json"})
    assert stand_in.compute.send_request(request).json()["error"]["code"] == "InvalidRequestContent"


def test_resources_survive_a_restart_and_what_was_under_way_has_failed(tmp_path: Path) -> None:
    file = tmp_path / "resources.sqlite"
    store = ResourceStore(file)
    store.put(
        Resource(
            "/subscriptions/s/resourceGroups/G", "Microsoft.Resources/resourceGroups", {"properties": {"provisioningState": "Deleting"}}
        )
    )
    store.put(
        Resource("/subscriptions/s/resourceGroups/G/providers/a/b/c", "a/b", {"properties": {"provisioningState": "Creating"}}, {"x": 1})
    )
    store.close()
    again = ResourceStore(file)
    recover(again)
    group, resource = again.get("/SUBSCRIPTIONS/s/resourcegroups/g"), again.get("/subscriptions/s/resourceGroups/g/providers/a/b/C")
    assert group is not None
    assert resource is not None
    assert group.properties["provisioningState"] == "Succeeded"
    assert (resource.properties["provisioningState"], resource.internal) == ("Failed", {"x": 1})
    again.close()


def test_latency_holds_an_operation_back(stand_in: StandIn, workshop: Workshop) -> None:
    from infra.local.latency import LatencyProfile

    profile = LatencyProfile(scale=0.01, minutes={"vm.start": 0.5})
    assert profile.seconds("vm.start") == pytest.approx(0.3)
    assert profile.seconds("unknown") == 0
    begun = time.monotonic()
    profile.wait("vm.start")
    assert time.monotonic() - begun >= 0.3
    stopping = threading.Event()
    stopping.set()
    LatencyProfile(scale=1, minutes={"vm.create": 1}).wait("vm.create", stopping)
    assert time.monotonic() - begun < 5
