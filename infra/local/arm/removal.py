"""Deleting: what is in use stays, what goes takes its disk folder, guest or blob with it."""

from __future__ import annotations

from infra.local.arm.access import access_until, end_access
from infra.local.arm.cloud import Cloud
from infra.local.arm.errors import ArmError, not_allowed
from infra.local.arm.exchange import Answer, Call
from infra.local.arm.kinds import DISK, IMAGE, NIC, NSG, PUBLIC_IP, RUN_COMMAND, SNAPSHOT, VM, VNET
from infra.local.state import Resource

GROUP_ORDER = (VM, NIC, PUBLIC_IP, VNET, NSG, IMAGE, SNAPSHOT, DISK)
"""Users before what they use, so that each deletion is one that Azure would allow alone."""


class Removal:
    """Deletes single resources and whole groups."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def delete(self, call: Call, operation: str) -> Answer:
        """Answer a DELETE: 204 when there is nothing, an error when it is in use, else 202."""
        resource = self._cloud.store.get(call.resource_id)
        if resource is None:
            self._cloud.require_group(call.group_id)
            return Answer(204)
        self.check_unused(resource)
        return self._cloud.begin_delete(call, operation, resource, lambda: self.remove(resource.id))

    def remove_group(self, group: Resource) -> None:
        """Delete all that is in a group and the group; raises ArmError 409 when something refuses, leaving it and the group."""
        for kind in GROUP_ORDER:
            for resource in self._cloud.store.find(kind=kind, under=group.id):
                try:
                    self.check_unused(resource)
                except ArmError as refusal:
                    raise ArmError(
                        409,
                        "ResourceGroupDeletionBlocked",
                        f"Deletion of resource group '{group.name}' failed as resources with identifiers '{resource.id}' "
                        f"could not be deleted: {refusal.code}: {refusal.message}",
                    ) from refusal
                self.remove(resource.id)
        self._cloud.store.remove(group.id)

    def check_unused(self, resource: Resource) -> None:
        """Raises ArmError with the code Azure gives for what is in use."""
        used_by = self._user_of(resource)
        if used_by is not None:
            status, code = {
                NIC: (400, "NicInUse"),
                PUBLIC_IP: (400, "PublicIPAddressCannotBeDeleted"),
                NSG: (400, "InUseNetworkSecurityGroupCannotBeDeleted"),
                VNET: (400, "InUseSubnetCannotBeDeleted"),
                DISK: (409, "OperationNotAllowed"),
            }[resource.type]
            raise ArmError(status, code, f"Resource {resource.id} can not be deleted because it is in use by {used_by}.")
        if resource.type in (DISK, SNAPSHOT) and access_until(resource) is not None:
            raise not_allowed(
                f"There is an active shared access signature outstanding for {resource.name}. Call EndGetAccess before deleting it."
            )

    def remove(self, resource_id: str) -> None:
        """Delete one resource, whatever uses it; the caller has checked."""
        resource = self._cloud.store.get(resource_id)
        if resource is None:
            return
        if resource.type == VM:
            self._remove_machine(resource)
        elif resource.type == NIC:
            self._release_addresses(resource)
        elif resource.type in (DISK, SNAPSHOT):
            end_access(self._cloud, resource)
            unique_id = resource.properties["uniqueId"]
            if self._cloud.disks.exists(unique_id):
                self._cloud.disks.delete(unique_id)
        elif resource.type == IMAGE:
            (self._cloud.vhds / f"{resource.internal['vhd']}.vhd").unlink(missing_ok=True)
        self._cloud.store.remove(resource.id)

    def _user_of(self, resource: Resource) -> str | None:
        store = self._cloud.store
        if resource.type == NIC:
            return _id_at(resource.properties, "virtualMachine")
        if resource.type == PUBLIC_IP:
            return _id_at(resource.properties, "ipConfiguration")
        if resource.type == DISK:
            return resource.document.get("managedBy")
        if resource.type == VNET:
            return next((nic.id for nic in store.find(kind=NIC) if any(_inside(subnet, resource.id) for subnet in subnets_of(nic))), None)
        if resource.type == NSG:
            for user in store.find(kind=NIC) + store.find(kind=VNET):
                holders = [user.properties, *[subnet.get("properties", {}) for subnet in user.properties.get("subnets", [])]]
                if any((_id_at(holder, "networkSecurityGroup") or "").lower() == resource.id.lower() for holder in holders):
                    return user.id
        return None

    def _remove_machine(self, vm: Resource) -> None:
        cloud = self._cloud
        cloud.guests.remove(vm.id.lower())
        for command in cloud.store.find(kind=RUN_COMMAND, under=vm.id):
            cloud.store.remove(command.id)
        os_disk = vm.properties["storageProfile"]["osDisk"]
        disk = cloud.store.get(_id_at(os_disk, "managedDisk") or "")
        if disk is not None:
            disk.document.pop("managedBy", None)
            cloud.store.put(disk)
        for reference in vm.properties["networkProfile"]["networkInterfaces"]:
            nic = cloud.store.get(reference["id"])
            if nic is not None:
                nic.properties.pop("virtualMachine", None)
                cloud.store.put(nic)
                if reference.get("properties", {}).get("deleteOption") == "Delete":
                    self.remove(nic.id)
        if disk is not None and os_disk.get("deleteOption") == "Delete":
            self.remove(disk.id)

    def _release_addresses(self, nic: Resource) -> None:
        for address_id in addresses_of(nic):
            address = self._cloud.store.get(address_id)
            if address is not None:
                address.properties.pop("ipConfiguration", None)
                self._cloud.store.put(address)


def subnets_of(nic: Resource) -> list[str]:
    """Ids of the subnets a NIC is in."""
    found = [_id_at(entry.get("properties", {}), "subnet") for entry in nic.properties.get("ipConfigurations", [])]
    return [subnet for subnet in found if subnet]


def addresses_of(nic: Resource) -> list[str]:
    """Ids of the public addresses a NIC has."""
    found = [_id_at(entry.get("properties", {}), "publicIPAddress") for entry in nic.properties.get("ipConfigurations", [])]
    return [address for address in found if address]


def _inside(resource_id: str, parent: str) -> bool:
    return resource_id.lower().startswith(f"{parent.lower()}/")


def _id_at(properties: dict[str, object], name: str) -> str | None:
    """The id in {"name": {"id": …}}, or None."""
    value = properties.get(name)
    found = value.get("id") if isinstance(value, dict) else None
    return str(found) if found else None
