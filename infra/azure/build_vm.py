"""The VM of a build: made where Azure has room for it, found again by its build id, deleted with its resource group."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, assert_never

from pydantic import SecretStr

from images.errors import AllocationError, CloudError, ConfigurationError
from infra.azure.placement import Placement, allocate, placements
from infra.azure.refusals import refusals
from infra.azure.resource_group import ensure_group, group_name
from infra.azure.session import Cloud
from infra.azure.tags import BUILD_ID, BuildTags
from infra.azure.vm_network import VmNetwork, find_address, make_network, network_security_group_name
from infra.azure.vm_request import (
    ADMIN_NAME,
    BuildVm,
    ExistingDisk,
    ManagedImage,
    MarketplaceImage,
    Role,
    VmRequest,
    VmSource,
    computer_name,
    new_admin_password,
)

if TYPE_CHECKING:
    from azure.mgmt.compute import models

CREATE_DEADLINE_S = 3600
WINRM_PORT = "winrm_port"
"""Tag of a VM: the port that its network lets through, and where whoever takes the VM over makes first contact."""
DEFAULT_WINRM_PORT = 5986
DELETE_DEADLINE_S = 1800


def provision(cloud: Cloud, request: VmRequest, tags: BuildTags, on_event: Callable[[str], None] = lambda _: None) -> BuildVm:
    """A running VM in the build's resource group, with all it needs around it.

    A source that is still to be made is made while the network is.
    Sizes and zones are tried in the profile's order; AllocationError lists the tries when none is free. CloudError for other refusals.
    """
    if request.trusted_launch and request.generation != "V2":
        raise ConfigurationError("Trusted Launch needs a generation 2 VM", hint="set generation: V2")
    group = ensure_group(cloud, tags)
    on_event(f"resource group {group} in {cloud.profile.location}")
    azure_tags = tags.to_azure()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="network") as pool:
        making_network = pool.submit(
            make_network,
            cloud,
            group,
            request.role,
            azure_tags,
            port=request.winrm_port,
            source_address=request.source_address,
            on_event=on_event,
        )
        source = request.source(group) if callable(request.source) else request.source
        network = making_network.result()
    password = None if isinstance(source, ExistingDisk) else new_admin_password()
    vm_own_tags = {**azure_tags, **request.tags, WINRM_PORT: str(request.winrm_port)}

    def attempt(placement: Placement) -> BuildVm:
        on_event(f"creating {request.role} VM: {placement}")
        return _create(
            cloud,
            group,
            request,
            source,
            network,
            placement=placement,
            password=password,
            tags=vm_own_tags,
        )

    vm = allocate(_candidates(cloud, source), attempt, on_event)
    on_event(f"VM {vm.name} runs: {vm.size}, {vm.address}")
    return vm


def find_vm(cloud: Cloud, build_id: str, role: Role = "build") -> BuildVm | None:
    """The VM that an earlier attempt of the same build left, for takeover; None when there is none. Raises CloudError."""
    from azure.core.exceptions import ResourceNotFoundError

    group = group_name(cloud.profile.resource_group_prefix, build_id)
    with refusals(f"look up VM {role} of build {build_id}"):
        try:
            vm = cloud.compute.virtual_machines.get(group, role)
        except ResourceNotFoundError:
            return None
    state = vm.properties.provisioning_state if vm.properties else None
    address = find_address(cloud, group, role)
    # A VM that Azure could not place, or that is on its way out, is nothing to take over.
    if address is None or state not in {"Succeeded", "Updating"} or (vm.tags or {}).get(BUILD_ID) != build_id:
        return None
    return _build_vm(vm, group, role, address, None)


def vm_tags(cloud: Cloud, vm: BuildVm) -> dict[str, str]:
    """All tags of a VM. Raises CloudError."""
    with refusals(f"read the tags of VM {vm.name}"):
        return dict(cloud.compute.virtual_machines.get(vm.resource_group, vm.name).tags or {})


def tag_vm(cloud: Cloud, vm: BuildVm, **tags: str) -> None:
    """Give a VM more tags; its others stay. Raises CloudError."""
    from azure.mgmt.compute.models import VirtualMachineUpdate

    body = VirtualMachineUpdate({"tags": vm_tags(cloud, vm) | tags})
    cloud.wait.finish(
        f"tag VM {vm.name}",
        lambda polling: cloud.compute.virtual_machines.begin_update(vm.resource_group, vm.name, body, polling=polling),
        deadline_s=DELETE_DEADLINE_S,
    )


def delete_vm(cloud: Cloud, group: str, name: str) -> None:
    """Delete a VM at once, with the disk that was made for it; absent is fine. Raises CloudError."""
    try:
        cloud.wait.finish(
            f"delete VM {name}",
            lambda polling: cloud.compute.virtual_machines.begin_delete(group, name, force_deletion=True, polling=polling),
            deadline_s=DELETE_DEADLINE_S,
        )
    except CloudError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise


def _candidates(cloud: Cloud, source: VmSource) -> list[Placement]:
    zones = cloud.profile.zones
    if isinstance(source, ExistingDisk):
        # A zonal disk can only be attached in its zone, a regional one only to a VM without a zone.
        zones = (source.zone,) if source.zone else ()
    return placements(cloud.profile.vm_sizes, zones)


def _create(
    cloud: Cloud,
    group: str,
    request: VmRequest,
    source: VmSource,
    network: VmNetwork,
    *,
    placement: Placement,
    password: SecretStr | None,
    tags: dict[str, str],
) -> BuildVm:
    from azure.mgmt.compute.models import VirtualMachine

    properties = vm_properties(request, source, network.interface_id, placement.size, password, build_id=tags[BUILD_ID])
    zones = {"zones": [placement.zone]} if placement.zone else {}
    body = VirtualMachine({"location": cloud.profile.location, "tags": tags, "properties": properties} | zones)
    name = request.role
    try:
        vm = cloud.wait.finish(
            f"create VM {name} ({placement})",
            lambda polling: cloud.compute.virtual_machines.begin_create_or_update(group, name, body, polling=polling),
            deadline_s=CREATE_DEADLINE_S,
        )
    except AllocationError:
        # Azure keeps a VM that it could not place, in state Failed and bound to its zone: it must go before the next try.
        delete_vm(cloud, group, name)
        raise
    return _build_vm(vm, group, request.role, network.address, password)


def vm_properties(
    request: VmRequest, source: VmSource, interface_id: str, size: str, password: SecretStr | None, *, build_id: str
) -> dict[str, Any]:
    """The properties of one VM as Azure's REST interface takes them."""
    properties: dict[str, Any] = {
        "hardwareProfile": {"vmSize": size},
        "storageProfile": _storage_profile(request, source),
        # Detach: the interface is used again when the first size or zone is refused.
        "networkProfile": {"networkInterfaces": [{"id": interface_id, "properties": {"primary": True, "deleteOption": "Detach"}}]},
        "diagnosticsProfile": {"bootDiagnostics": {"enabled": False}},
    }
    if request.trusted_launch:
        properties["securityProfile"] = {
            "securityType": "TrustedLaunch",
            "uefiSettings": {"secureBootEnabled": True, "vTpmEnabled": True},
        }
    elif request.generation == "V2":
        # Without it a generation 2 VM becomes Trusted Launch by default, whose disk can not become a managed image or a VHD.
        # https://learn.microsoft.com/azure/virtual-machines/trusted-launch ("Standard" needs the feature UseStandardSecurityType).
        properties["securityProfile"] = {"securityType": "Standard"}
    if password is not None:
        properties["osProfile"] = {
            "computerName": computer_name(request.role, build_id),
            "adminUsername": ADMIN_NAME,
            "adminPassword": password.get_secret_value(),
            "windowsConfiguration": {
                "provisionVMAgent": True,
                # Updates are a stage of the build; nothing may come by itself.
                "enableAutomaticUpdates": False,
                "patchSettings": {"patchMode": "Manual"},
            },
        }
    return properties


def _storage_profile(request: VmRequest, source: VmSource) -> dict[str, Any]:
    disk: dict[str, Any] = {"name": f"{request.role}-os", "osType": "Windows", "caching": "ReadWrite"}
    from_image = {
        "createOption": "FromImage",
        "deleteOption": "Delete",
        "diskSizeGB": request.os_disk_gib,
        "managedDisk": {"storageAccountType": "Premium_LRS"},
    }
    match source:
        case MarketplaceImage(publisher=publisher, offer=offer, sku=sku, version=version):
            if version == "latest":
                raise ConfigurationError("a VM is only made from an exact image version", hint="resolve `latest` into the lock first")
            reference = {"publisher": publisher, "offer": offer, "sku": sku, "version": version}
            return {"imageReference": reference, "osDisk": disk | from_image}
        case ManagedImage(image_id=image_id):
            return {"imageReference": {"id": image_id}, "osDisk": disk | from_image}
        case ExistingDisk(disk_id=disk_id):
            # The disk outlives a VM that could not be placed: whoever made it deletes it, at the latest with the resource group.
            attached = {"createOption": "Attach", "deleteOption": "Detach", "managedDisk": {"id": disk_id}}
            return {"osDisk": disk | attached | {"name": disk_id.rsplit("/", 1)[-1]}}
        case _:
            assert_never(source)


def _build_vm(vm: models.VirtualMachine, group: str, role: Role, address: str, password: SecretStr | None) -> BuildVm:
    properties = vm.properties
    disk = properties.storage_profile.os_disk if properties and properties.storage_profile else None
    hardware = properties.hardware_profile if properties else None
    if not (vm.id and disk and disk.name and disk.managed_disk and disk.managed_disk.id and hardware and hardware.vm_size):
        raise CloudError(f"Azure describes VM {role} without its OS disk or size", hint="delete the resource group and build again")
    return BuildVm(
        resource_group=group,
        name=role,
        vm_id=vm.id,
        os_disk_name=disk.name,
        os_disk_id=disk.managed_disk.id,
        network_security_group=network_security_group_name(role),
        address=address,
        size=str(getattr(hardware.vm_size, "value", hardware.vm_size)),
        zone=vm.zones[0] if vm.zones else None,
        role=role,
        winrm_port=int((vm.tags or {}).get(WINRM_PORT, DEFAULT_WINRM_PORT)),
        admin_password=password,
    )
