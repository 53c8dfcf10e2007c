"""The stand-in refuses what Azure refuses; one test for each refusal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.core.rest import HttpRequest
from azure.storage.blob import ContainerClient

from tests.contract.arm.conftest import IMAGE_2022, REGION, StandIn, Workshop

GEN2 = {**IMAGE_2022, "sku": "2022-datacenter-core-smalldisk-g2"}


def refusal(action: Callable[[], object]) -> tuple[int | None, str | None]:
    """(HTTP status, ARM's code) of the error that an action ends in."""
    with pytest.raises(HttpResponseError) as caught:
        action()
    return caught.value.status_code, caught.value.error.code if caught.value.error else None


def create(stand_in: StandIn, workshop: Workshop, body: dict[str, Any], name: str = "vm") -> Callable[[], object]:
    return lambda: stand_in.compute.virtual_machines.begin_create_or_update(workshop.group, name, body).result()


def attach(disk_id: str) -> dict[str, Any]:
    return {"osDisk": {"createOption": "Attach", "osType": "Windows", "managedDisk": {"id": disk_id}}}


def copy_of(source_id: str, location: str = REGION) -> dict[str, Any]:
    return {"location": location, "properties": {"creationData": {"createOption": "Copy", "sourceResourceId": source_id}}}


def marketplace(**changes: str) -> dict[str, Any]:
    return {"imageReference": {**IMAGE_2022, **changes}, "osDisk": {"createOption": "FromImage"}}


def test_os_profile_with_an_attached_disk(stand_in: StandIn, workshop: Workshop) -> None:
    disk_id = workshop.disk_id(workshop.vm("first"))
    stand_in.compute.virtual_machines.begin_delete(workshop.group, "first").result()
    body = workshop.vm_body(workshop.nic(), storageProfile=attach(disk_id))
    assert refusal(create(stand_in, workshop, body)) == (400, "InvalidParameter")


def test_image_without_os_profile(stand_in: StandIn, workshop: Workshop) -> None:
    body = workshop.vm_body(workshop.nic(), osProfile=None)
    assert refusal(create(stand_in, workshop, body)) == (400, "InvalidParameter")


def test_attaching_a_disk_that_another_vm_has(stand_in: StandIn, workshop: Workshop) -> None:
    body = workshop.vm_body(workshop.nic(), osProfile=None, storageProfile=attach(workshop.disk_id(workshop.vm("first"))))
    assert refusal(create(stand_in, workshop, body)) == (409, "ConflictingUserInput")


def test_disk_from_a_snapshot_of_another_region(stand_in: StandIn, workshop: Workshop) -> None:
    disk_id = workshop.disk_id(workshop.vm())
    snapshot = stand_in.compute.snapshots.begin_create_or_update(workshop.group, "snap", copy_of(disk_id)).result()
    disks = stand_in.compute.disks
    action = lambda: disks.begin_create_or_update(workshop.group, "far", copy_of(snapshot.id, "eastus")).result()  # noqa: E731
    assert refusal(action) == (400, "InvalidParameter")


def test_snapshot_in_another_region_than_its_disk(stand_in: StandIn, workshop: Workshop) -> None:
    body = copy_of(workshop.disk_id(workshop.vm()), "eastus")
    assert refusal(lambda: stand_in.compute.snapshots.begin_create_or_update(workshop.group, "far", body).result()) == (
        400,
        "InvalidParameter",
    )


def test_changing_what_a_snapshot_was_made_from(stand_in: StandIn, workshop: Workshop) -> None:
    first, second = (workshop.disk_id(workshop.vm(name)) for name in ("one", "two"))
    snapshots = stand_in.compute.snapshots
    snapshots.begin_create_or_update(workshop.group, "snap", copy_of(first)).result()
    snapshots.begin_create_or_update(workshop.group, "snap", copy_of(first)).result()
    action = lambda: snapshots.begin_create_or_update(workshop.group, "snap", copy_of(second)).result()  # noqa: E731
    assert refusal(action) == (409, "PropertyChangeNotAllowed")


def test_generalize_while_running(stand_in: StandIn, workshop: Workshop) -> None:
    workshop.vm()
    machines = stand_in.compute.virtual_machines
    assert refusal(lambda: machines.generalize(workshop.group, "vm")) == (409, "OperationNotAllowed")
    machines.begin_power_off(workshop.group, "vm").result()
    machines.generalize(workshop.group, "vm")


@pytest.mark.parametrize("action", ["begin_start", "begin_restart"])
def test_start_and_restart_after_generalize(stand_in: StandIn, workshop: Workshop, action: str) -> None:
    workshop.vm()
    machines = stand_in.compute.virtual_machines
    machines.begin_deallocate(workshop.group, "vm").result()
    machines.generalize(workshop.group, "vm")
    assert refusal(lambda: getattr(machines, action)(workshop.group, "vm").result()) == (409, "OperationNotAllowed")


@pytest.mark.parametrize("switch_off", [False, True], ids=["running", "stopped but allocated"])
def test_access_to_a_disk_in_use(stand_in: StandIn, workshop: Workshop, switch_off: bool) -> None:
    vm = workshop.vm()
    if switch_off:
        stand_in.compute.virtual_machines.begin_power_off(workshop.group, "vm").result()
    disk = vm.storage_profile.os_disk.name
    body = {"access": "Read", "durationInSeconds": 60}
    action = lambda: stand_in.compute.disks.begin_grant_access(workshop.group, disk, body).result()  # noqa: E731
    assert refusal(action) == (409, "OperationNotAllowed")


def test_starting_from_and_deleting_a_disk_with_open_access(stand_in: StandIn, workshop: Workshop) -> None:
    vm = workshop.vm()
    machines, disks, name = stand_in.compute.virtual_machines, stand_in.compute.disks, vm.storage_profile.os_disk.name
    machines.begin_deallocate(workshop.group, "vm").result()
    disks.begin_grant_access(workshop.group, name, {"access": "Read", "durationInSeconds": 600}).result()
    assert refusal(lambda: machines.begin_start(workshop.group, "vm").result()) == (409, "OperationNotAllowed")
    machines.begin_delete(workshop.group, "vm").result()
    assert refusal(lambda: disks.begin_delete(workshop.group, name).result()) == (409, "OperationNotAllowed")
    with pytest.raises(HttpResponseError, match="ResourceGroupDeletionBlocked"):
        stand_in.resources.resource_groups.begin_delete(workshop.group).result()
    disks.begin_revoke_access(workshop.group, name).result()
    stand_in.resources.resource_groups.begin_delete(workshop.group).result()


def test_access_that_has_run_out_no_longer_holds_the_disk(stand_in: StandIn, workshop: Workshop) -> None:
    vm = workshop.vm()
    disks, name = stand_in.compute.disks, vm.storage_profile.os_disk.name
    stand_in.compute.virtual_machines.begin_deallocate(workshop.group, "vm").result()
    disks.begin_grant_access(workshop.group, name, {"access": "Read", "durationInSeconds": 600}).result()
    held = stand_in.cloud.require(workshop.disk_id(vm))
    held.internal["access"]["until"] = "2001-01-01T00:00:00+00:00"
    stand_in.cloud.store.put(held)
    assert disks.get(workshop.group, name).disk_state == "Reserved"
    stand_in.compute.virtual_machines.begin_start(workshop.group, "vm").result()


def test_deleting_what_is_in_use(stand_in: StandIn, workshop: Workshop) -> None:
    nic = workshop.nic("busy", nsg=True)
    vm = stand_in.compute.virtual_machines.begin_create_or_update(workshop.group, "vm", workshop.vm_body(nic)).result()
    network, group = stand_in.network, workshop.group
    assert refusal(lambda: network.network_interfaces.begin_delete(group, "busy").result()) == (400, "NicInUse")
    assert refusal(lambda: network.public_ip_addresses.begin_delete(group, "busy-ip").result()) == (400, "PublicIPAddressCannotBeDeleted")
    assert refusal(lambda: network.network_security_groups.begin_delete(group, "busy-nsg").result()) == (
        400,
        "InUseNetworkSecurityGroupCannotBeDeleted",
    )
    assert refusal(lambda: network.virtual_networks.begin_delete(group, "busy-vnet").result()) == (400, "InUseSubnetCannotBeDeleted")
    disk = vm.storage_profile.os_disk.name
    assert refusal(lambda: stand_in.compute.disks.begin_delete(group, disk).result()) == (409, "OperationNotAllowed")


def test_second_vm_on_one_nic_and_second_nic_on_one_address(stand_in: StandIn, workshop: Workshop) -> None:
    nic = workshop.nic("only")
    stand_in.compute.virtual_machines.begin_create_or_update(workshop.group, "vm", workshop.vm_body(nic)).result()
    assert refusal(create(stand_in, workshop, workshop.vm_body(nic), "other")) == (400, "NetworkInterfaceInUse")
    made = stand_in.network.network_interfaces.get(workshop.group, "only")
    body = {"location": REGION, "properties": {"ipConfigurations": [{"name": "main", "properties": dict(_addresses(made))}]}}
    action = lambda: stand_in.network.network_interfaces.begin_create_or_update(workshop.group, "thief", body).result()  # noqa: E731
    assert refusal(action) == (400, "PublicIPAddressInUse")


def _addresses(nic: Any) -> dict[str, Any]:
    configuration = nic.ip_configurations[0]
    return {"subnet": {"id": configuration.subnet.id}, "publicIPAddress": {"id": configuration.public_ip_address.id}}


def test_nic_that_names_what_does_not_exist(stand_in: StandIn, workshop: Workshop) -> None:
    missing = f"/subscriptions/x/resourceGroups/{workshop.group}/providers/Microsoft.Network/virtualNetworks/none/subnets/default"
    body = {"location": REGION, "properties": {"ipConfigurations": [{"name": "main", "properties": {"subnet": {"id": missing}}}]}}
    action = lambda: stand_in.network.network_interfaces.begin_create_or_update(workshop.group, "nic", body).result()  # noqa: E731
    assert refusal(action) == (400, "InvalidResourceReference")


def test_managed_image_from_a_trusted_launch_vm(stand_in: StandIn, workshop: Workshop) -> None:
    security = {"securityType": "TrustedLaunch", "uefiSettings": {"secureBootEnabled": True, "vTpmEnabled": True}}
    vm = workshop.vm(securityProfile=security, storageProfile=marketplace(sku=GEN2["sku"]))
    assert stand_in.guests.specs[vm.id.lower()].secure_boot is True
    stand_in.compute.virtual_machines.begin_deallocate(workshop.group, "vm").result()
    stand_in.compute.virtual_machines.generalize(workshop.group, "vm")
    body = {"location": REGION, "properties": {"sourceVirtualMachine": {"id": vm.id}}}
    images = stand_in.compute.images
    assert refusal(lambda: images.begin_create_or_update(workshop.group, "image", body).result()) == (409, "OperationNotAllowed")


def test_managed_image_from_a_vm_that_is_not_generalized(stand_in: StandIn, workshop: Workshop) -> None:
    vm = workshop.vm()
    stand_in.compute.virtual_machines.begin_deallocate(workshop.group, "vm").result()
    body = {"location": REGION, "properties": {"sourceVirtualMachine": {"id": vm.id}}}
    images = stand_in.compute.images
    assert refusal(lambda: images.begin_create_or_update(workshop.group, "image", body).result()) == (409, "OperationNotAllowed")


def test_trusted_launch_on_generation_1(stand_in: StandIn, workshop: Workshop) -> None:
    body = workshop.vm_body(workshop.nic(), securityProfile={"securityType": "TrustedLaunch"})
    assert refusal(create(stand_in, workshop, body)) == (400, "BadRequest")


def test_image_from_a_blob_that_is_no_vhd_or_not_there(stand_in: StandIn, workshop: Workshop) -> None:
    url = f"{stand_in.azurite.endpoint}/winvhd/{workshop.group}"
    credential = {"account_name": "winvhd", "account_key": stand_in.azurite.keys["winvhd"]}
    with ContainerClient.from_container_url(url, credential=credential) as container:
        container.create_container()
        container.get_blob_client("bad.vhd").create_page_blob(1024 * 1024)

    def image_from(uri: str) -> Callable[[], object]:
        os_disk = {"osType": "Windows", "osState": "Generalized", "blobUri": uri}
        body = {"location": REGION, "properties": {"storageProfile": {"osDisk": os_disk}}}
        return lambda: stand_in.compute.images.begin_create_or_update(workshop.group, "image", body).result()

    for uri, code in (
        (f"{url}/bad.vhd", "InvalidVhd"),
        (f"{url}/none.vhd", "BlobNotFound"),
        ("https://a.example/x/y.vhd", "InvalidParameter"),
    ):
        with pytest.raises(HttpResponseError, match=code):
            image_from(uri)()


@pytest.mark.parametrize("version", ["1.2", "1.2.3.4", "1.2.2147483648", "1.a.3"])
def test_image_version_that_is_not_three_int32(stand_in: StandIn, workshop: Workshop, version: str) -> None:
    versions = stand_in.compute.gallery_image_versions
    action = lambda: versions.begin_create_or_update(workshop.group, "gallery", "image", version, {"location": REGION}).result()  # noqa: E731
    assert refusal(action) == (400, "InvalidParameter")


def test_galleries_answer_that_they_are_not_implemented(stand_in: StandIn, workshop: Workshop) -> None:
    versions = stand_in.compute.gallery_image_versions
    action = lambda: versions.begin_create_or_update(workshop.group, "g", "i", "20348.5499.26080901", {"location": REGION}).result()  # noqa: E731
    assert refusal(action) == (501, "NotImplementedByStandIn")


def test_size_that_is_not_in_the_list(stand_in: StandIn, workshop: Workshop) -> None:
    body = workshop.vm_body(workshop.nic(), hardwareProfile={"vmSize": "Standard_Nonsense"})
    assert refusal(create(stand_in, workshop, body)) == (400, "InvalidParameter")


def test_marketplace_version_that_does_not_exist(stand_in: StandIn, workshop: Workshop) -> None:
    body = workshop.vm_body(workshop.nic(), storageProfile=marketplace(version="20348.1.1"))
    assert refusal(create(stand_in, workshop, body)) == (404, "PlatformImageNotFound")


def test_disk_smaller_than_its_image(stand_in: StandIn, workshop: Workshop) -> None:
    storage = {"imageReference": dict(IMAGE_2022), "osDisk": {"createOption": "FromImage", "diskSizeGB": 20}}
    assert refusal(create(stand_in, workshop, workshop.vm_body(workshop.nic(), storageProfile=storage))) == (400, "InvalidParameter")


@pytest.mark.parametrize("change", [{"adminUsername": "Administrator"}, {"adminPassword": "password"}, {"computerName": "a" * 16}])
def test_user_password_or_name_that_windows_would_not_take(stand_in: StandIn, workshop: Workshop, change: dict[str, str]) -> None:
    body = workshop.vm_body(workshop.nic())
    properties = body["properties"]
    properties["osProfile"] |= change
    assert refusal(create(stand_in, workshop, body)) == (400, "InvalidParameter")


def test_vm_that_must_not_exist_yet(stand_in: StandIn, workshop: Workshop) -> None:
    workshop.vm()
    body = workshop.vm_body(workshop.nic("more"))
    machines = stand_in.compute.virtual_machines
    headers = {"If-None-Match": "*"}
    action = lambda: machines.begin_create_or_update(workshop.group, "vm", body, headers=headers).result()  # noqa: E731
    assert refusal(action)[0] == 412


def test_resources_that_do_not_exist(stand_in: StandIn, workshop: Workshop) -> None:
    with pytest.raises(ResourceNotFoundError) as missing:
        stand_in.compute.virtual_machines.get(workshop.group, "none")
    assert missing.value.error is not None
    assert missing.value.error.code == "ResourceNotFound"
    with pytest.raises(ResourceNotFoundError) as no_group:
        stand_in.compute.virtual_machines.get("no-such-group", "none")
    assert no_group.value.error is not None
    assert no_group.value.error.code == "ResourceGroupNotFound"


def test_group_moved_to_another_region(stand_in: StandIn, workshop: Workshop) -> None:
    with pytest.raises(ResourceExistsError) as caught:
        stand_in.resources.resource_groups.create_or_update(workshop.group, {"location": "eastus"})
    assert caught.value.error is not None
    assert caught.value.error.code == "InvalidResourceGroupLocation"


def test_unknown_route_names_itself(stand_in: StandIn, workshop: Workshop) -> None:
    path = f"/subscriptions/{stand_in.cloud.subscription_id}/resourceGroups/{workshop.group}/providers/Microsoft.Web/sites/x"
    with pytest.raises(HttpResponseError) as caught:
        stand_in.resources.resources.get_by_id(path, api_version="2024-01-01")
    assert caught.value.status_code == 501
    assert caught.value.error is not None
    assert caught.value.error.code == "NotImplementedByStandIn"
    assert f"GET {path}" in str(caught.value.error.message)


def test_request_without_api_version_or_for_another_subscription(stand_in: StandIn) -> None:
    base = f"{stand_in.url}/subscriptions/{stand_in.cloud.subscription_id}/resourcegroups"
    for url, code in (
        (base, "MissingApiVersionParameter"),
        (f"{stand_in.url}/subscriptions/other/resourcegroups?api-version=1", "SubscriptionNotFound"),
    ):
        response = stand_in.compute.send_request(HttpRequest("GET", url))
        assert response.json()["error"]["code"] == code
