"""A VM's life through the real compute client: create, run a script, checkpoint, restore, generalize, export, image, delete."""

from __future__ import annotations

from azure.storage.blob import BlobClient, ContainerClient

from tests.contract.arm.conftest import IMAGE_2022, PASSWORD, REGION, StandIn, Workshop
from tests.contract.arm.memory_machines import VIRTUAL_BYTES


def power(stand_in: StandIn, group: str, name: str) -> str:
    view = stand_in.compute.virtual_machines.instance_view(group, name)
    return next(str(status.code) for status in view.statuses if status.code.startswith("PowerState/"))


def test_vm_from_marketplace_runs_and_shows_no_password(stand_in: StandIn, workshop: Workshop) -> None:
    vm = workshop.vm()
    assert vm.provisioning_state == "Succeeded"
    assert vm.storage_profile.image_reference.exact_version == IMAGE_2022["version"]
    assert vm.os_profile.admin_password is None
    assert PASSWORD not in str(stand_in.cloud.store.find())
    spec = stand_in.guests.specs[vm.id.lower()]
    assert (spec.generation, spec.os_disk_gib, spec.secure_boot) == ("V1", 35, False)
    assert spec.os_profile is not None
    assert spec.os_profile.admin_password == PASSWORD
    full = stand_in.compute.virtual_machines.get(workshop.group, "vm", expand="instanceView")
    assert {status.code for status in full.instance_view.statuses} == {"ProvisioningState/succeeded", "PowerState/running"}
    assert full.instance_view.vm_agent.statuses[0].display_status == "Ready"
    disk = stand_in.compute.disks.get(workshop.group, vm.storage_profile.os_disk.name)
    assert (disk.managed_by, disk.disk_state, disk.disk_size_gb, disk.hyper_v_generation) == (vm.id, "Attached", 35, "V1")


def test_public_address_of_a_vm_is_this_machine(stand_in: StandIn, workshop: Workshop) -> None:
    workshop.vm()
    address = stand_in.network.public_ip_addresses.get(workshop.group, "vm-nic-ip")
    assert address.ip_address == "127.0.0.1"
    assert address.ip_configuration.id.endswith("/ipConfigurations/main")


def test_power_actions_change_the_instance_view(stand_in: StandIn, workshop: Workshop) -> None:
    workshop.vm()
    machines = stand_in.compute.virtual_machines
    machines.begin_restart(workshop.group, "vm").result()
    assert power(stand_in, workshop.group, "vm") == "PowerState/running"
    machines.begin_power_off(workshop.group, "vm").result()
    assert power(stand_in, workshop.group, "vm") == "PowerState/stopped"
    machines.begin_deallocate(workshop.group, "vm").result()
    assert power(stand_in, workshop.group, "vm") == "PowerState/deallocated"
    assert stand_in.compute.disks.get(workshop.group, "vm-nic-os").disk_state == "Reserved"
    machines.begin_start(workshop.group, "vm").result()
    assert power(stand_in, workshop.group, "vm") == "PowerState/running"


def test_snapshot_becomes_a_vm_without_os_profile(stand_in: StandIn, workshop: Workshop) -> None:
    vm = workshop.vm()
    stand_in.compute.virtual_machines.begin_power_off(workshop.group, "vm").result()
    tags = {"fingerprint": "f" * 64, "scope": "public"}
    snapshot = stand_in.compute.snapshots.begin_create_or_update(
        workshop.group,
        "ckpt-os-westus3-ffff",
        {
            "location": REGION,
            "tags": tags,
            "properties": {"incremental": True, "creationData": {"createOption": "Copy", "sourceResourceId": workshop.disk_id(vm)}},
        },
    ).result()
    assert (snapshot.tags, snapshot.incremental, snapshot.disk_size_gb, snapshot.completion_percent) == (tags, True, 35, 100.0)
    disk = stand_in.compute.disks.begin_create_or_update(
        workshop.group,
        "restored",
        {"location": REGION, "properties": {"creationData": {"createOption": "Copy", "sourceResourceId": snapshot.id}}},
    ).result()
    body = workshop.vm_body(
        workshop.nic("second"),
        osProfile=None,
        storageProfile={"osDisk": {"createOption": "Attach", "osType": "Windows", "managedDisk": {"id": disk.id}}},
    )
    restored = stand_in.compute.virtual_machines.begin_create_or_update(workshop.group, "again", body).result()
    spec = stand_in.guests.specs[restored.id.lower()]
    assert spec.os_profile is None
    first = stand_in.guests.specs[vm.id.lower()]
    assert stand_in.disks.disks[spec.disk_id] == stand_in.disks.disks[first.disk_id]


def test_deallocated_disk_is_exported_as_a_page_blob_and_becomes_an_image_and_a_vm(stand_in: StandIn, workshop: Workshop) -> None:
    vm = workshop.vm()
    machines, disks = stand_in.compute.virtual_machines, stand_in.compute.disks
    name = vm.storage_profile.os_disk.name
    machines.begin_deallocate(workshop.group, "vm").result()
    machines.generalize(workshop.group, "vm")
    view = machines.instance_view(workshop.group, "vm")
    assert "OSState/generalized" in {status.code for status in view.statuses}
    access = disks.begin_grant_access(workshop.group, name, {"access": "Read", "durationInSeconds": 3600}).result()
    assert disks.get(workshop.group, name).disk_state == "ActiveSAS"
    with BlobClient.from_blob_url(access.access_sas) as exported:
        properties = exported.get_blob_properties()
        assert (properties.size, properties.blob_type) == (VIRTUAL_BYTES + 512, "PageBlob")
        ranges = [(span.start or 0, span.end or 0) for span in exported.list_page_ranges()]
        assert sum(end - start + 1 for start, end in ranges) < 64 * 1024
        content = exported.download_blob().readall()
    assert content.startswith(b"2022-Datacenter-Core-smalldisk 20348.5499.260809 V1 35")
    assert content[-512:].startswith(b"conectix")

    target = f"{stand_in.azurite.endpoint}/winvhd/builds/image.vhd"
    credential = {"account_name": "winvhd", "account_key": stand_in.azurite.keys["winvhd"]}
    with BlobClient.from_blob_url(target, credential=credential) as blob:
        with ContainerClient.from_container_url(target.rsplit("/", 1)[0], credential=credential) as container:
            container.create_container()
        blob.create_page_blob(len(content))
        for start, end in ranges:
            blob.upload_page(content[start : end + 1], offset=start, length=end - start + 1)
    disks.begin_revoke_access(workshop.group, name).result()
    assert disks.get(workshop.group, name).disk_state == "Reserved"

    image = stand_in.compute.images.begin_create_or_update(
        workshop.group,
        "captured",
        {
            "location": REGION,
            "properties": {
                "hyperVGeneration": "V1",
                "storageProfile": {"osDisk": {"osType": "Windows", "osState": "Generalized", "blobUri": target}},
            },
        },
    ).result()
    assert image.provisioning_state == "Succeeded"
    body = workshop.vm_body(
        workshop.nic("test"),
        storageProfile={"imageReference": {"id": image.id}, "osDisk": {"name": "test-os", "createOption": "FromImage", "diskSizeGB": 35}},
    )
    tested = machines.begin_create_or_update(workshop.group, "test", body).result()
    spec = stand_in.guests.specs[tested.id.lower()]
    assert stand_in.disks.disks[spec.disk_id] == content[: len(stand_in.disks.disks[spec.disk_id])]
    assert spec.os_profile is not None


def test_managed_image_from_a_generalized_vm_becomes_a_vm(stand_in: StandIn, workshop: Workshop) -> None:
    vm = workshop.vm()
    stand_in.compute.virtual_machines.begin_deallocate(workshop.group, "vm").result()
    stand_in.compute.virtual_machines.generalize(workshop.group, "vm")
    body = {"location": REGION, "properties": {"sourceVirtualMachine": {"id": vm.id}}}
    image = stand_in.compute.images.begin_create_or_update(workshop.group, "captured", body).result()
    assert image.storage_profile.os_disk.disk_size_gb == 35
    assert image.hyper_v_generation == "V1"


def test_grown_copy_of_a_snapshot_has_the_new_size(stand_in: StandIn, workshop: Workshop) -> None:
    vm = workshop.vm()
    creation = {"createOption": "Copy", "sourceResourceId": workshop.disk_id(vm)}
    body = {"location": REGION, "properties": {"creationData": creation, "diskSizeGB": 64}}
    disk = stand_in.compute.disks.begin_create_or_update(workshop.group, "grown", body).result()
    assert disk.disk_size_gb == 64


def test_deleting_a_vm_keeps_what_is_not_marked_for_deletion(stand_in: StandIn, workshop: Workshop) -> None:
    vm = workshop.vm()
    stand_in.compute.virtual_machines.begin_delete(workshop.group, "vm").result()
    assert vm.id.lower() not in stand_in.guests.running
    assert stand_in.compute.disks.get(workshop.group, "vm-nic-os").disk_state == "Unattached"
    assert stand_in.network.network_interfaces.get(workshop.group, "vm-nic").virtual_machine is None
    stand_in.compute.virtual_machines.begin_delete(workshop.group, "vm").result()


def test_delete_option_takes_disk_and_nic_along(stand_in: StandIn, workshop: Workshop) -> None:
    nic = workshop.nic("going")
    body = workshop.vm_body(nic, networkProfile={"networkInterfaces": [{"id": nic, "properties": {"deleteOption": "Delete"}}]})
    properties = body["properties"]
    properties["storageProfile"]["osDisk"]["deleteOption"] = "Delete"
    stand_in.compute.virtual_machines.begin_create_or_update(workshop.group, "vm", body).result()
    before = len(stand_in.disks.disks)
    stand_in.compute.virtual_machines.begin_delete(workshop.group, "vm").result()
    assert len(stand_in.disks.disks) == before - 1
    assert "going" not in [nic.name for nic in stand_in.network.network_interfaces.list(workshop.group)]
    assert list(stand_in.compute.disks.list_by_resource_group(workshop.group)) == []


def test_outbound_rule_reaches_the_running_guest(stand_in: StandIn, workshop: Workshop) -> None:
    body = workshop.vm_body(workshop.nic("guarded", nsg=True))
    vm = stand_in.compute.virtual_machines.begin_create_or_update(workshop.group, "vm", body).result()
    assert stand_in.guests.outbound[vm.id.lower()] is True
    rule = {
        "name": "no-internet",
        "properties": {
            "direction": "Outbound",
            "access": "Deny",
            "priority": 200,
            "protocol": "*",
            "sourceAddressPrefix": "*",
            "sourcePortRange": "*",
            "destinationAddressPrefix": "Internet",
            "destinationPortRange": "*",
        },
    }
    groups = stand_in.network.network_security_groups
    groups.begin_create_or_update(workshop.group, "guarded-nsg", {"location": REGION, "properties": {"securityRules": [rule]}}).result()
    assert stand_in.guests.outbound[vm.id.lower()] is False
    groups.begin_create_or_update(workshop.group, "guarded-nsg", {"location": REGION}).result()
    assert stand_in.guests.outbound[vm.id.lower()] is True
