"""Virtual machines: create, read, delete."""

from __future__ import annotations

import time

from infra.local.arm.cloud import Cloud, new_guid, now
from infra.local.arm.errors import ArmError, not_implemented
from infra.local.arm.exchange import COMPUTE, Answer, Call, Route
from infra.local.arm.images import vhd_of
from infra.local.arm.kinds import DISK, NIC, VM
from infra.local.arm.machine_model import MachineWish, read_wish
from infra.local.arm.machine_view import instance_view
from infra.local.arm.network import plain_routes
from infra.local.arm.outbound import outbound_allowed
from infra.local.arm.removal import Removal
from infra.local.contracts import BaseImageReference, MachineSpec, OsProfile
from infra.local.state import Json, Resource

BASE = f"{COMPUTE}/virtualMachines"


class Machines:
    """Microsoft.Compute/virtualMachines without the power actions."""

    def __init__(self, cloud: Cloud, removal: Removal) -> None:
        self._cloud = cloud
        self._removal = removal

    def routes(self) -> list[Route]:
        """PUT, GET with $expand=instanceView, /instanceView, and the rest."""
        return [
            Route("PUT", f"{BASE}/{{name}}", self._put),
            Route("GET", f"{BASE}/{{name}}", self._get),
            Route("GET", f"{BASE}/{{name}}", self._instance_view, action="instanceView"),
            *plain_routes(self._cloud, self._removal, BASE, VM, "vm.delete"),
        ]

    def _get(self, call: Call) -> Answer:
        vm = self._cloud.require(call.resource_id)
        expand = call.query.get("$expand", "").lower()
        if expand not in ("", "instanceview"):
            raise not_implemented("GET", f"virtualMachines with $expand={expand}")
        if expand:
            vm.properties["instanceView"] = instance_view(self._cloud, vm)
        return Answer(200, vm.document)

    def _instance_view(self, call: Call) -> Answer:
        return Answer(200, instance_view(self._cloud, self._cloud.require(call.resource_id)))

    def _put(self, call: Call) -> Answer:
        vm, existing = self._cloud.draft(call, VM)
        if existing is not None and call.headers.get("if-none-match") == "*":
            raise ArmError(412, "PreconditionFailed", f"Virtual machine {vm.name} exists already (If-None-Match: *).")
        if existing is not None and existing.internal.get("made"):
            return self._update(call, vm, existing)
        wish = read_wish(self._cloud, vm)
        interfaces = self._interfaces(vm)
        self._complete(vm, wish)

        def work(stored: Resource) -> None:
            allocate(self._cloud, wish.size, stored.location)
            disk = self._os_disk(stored, wish)
            disk.document["managedBy"] = stored.id
            self._cloud.store.put(disk)
            stored.internal |= {"made": True, "secure_boot": wish.secure_boot}
            self._cloud.guests.power_on(machine_spec(self._cloud, stored, wish.os_profile))
            if wish.os_profile is not None:
                self._await_agent(stored)

        for nic in interfaces:
            nic.properties["virtualMachine"] = {"id": vm.id}
        return self._cloud.begin_put(call, "vm.create", vm, work, created=existing is None, bound=interfaces)

    def _update(self, call: Call, vm: Resource, existing: Resource) -> Answer:
        """A PUT over a VM that exists may repeat what is there and change tags."""
        for part, names in {"hardwareProfile": ("vmSize",), "securityProfile": ("securityType",)}.items():
            for name in names:
                wanted = (vm.properties.get(part) or {}).get(name)
                if wanted is not None and wanted != (existing.properties.get(part) or {}).get(name):
                    raise not_implemented("PUT", f"virtualMachines with a changed {part}.{name}")
        wanted_disk = ((vm.properties.get("storageProfile") or {}).get("osDisk") or {}).get("name")
        if wanted_disk not in (None, existing.properties["storageProfile"]["osDisk"]["name"]):
            raise not_implemented("PUT", "virtualMachines with another OS disk")
        existing.document["tags"] = vm.document["tags"]
        return self._cloud.begin_put(call, "vm.update", existing, self._cloud.store.put, created=False)

    def _interfaces(self, vm: Resource) -> list[Resource]:
        references = (vm.properties.get("networkProfile") or {}).get("networkInterfaces") or []
        if not references:
            raise ArmError(400, "InvalidParameter", "Required parameter 'networkProfile' is missing (null).", target="networkProfile")
        interfaces = [self._cloud.referenced(reference.get("id", ""), vm.location, vm.id) for reference in references]
        for nic in interfaces:
            owner = nic.properties.get("virtualMachine", {}).get("id", vm.id)
            if nic.type != NIC or owner.lower() != vm.id.lower():
                raise ArmError(400, "NetworkInterfaceInUse", f"Network interface {nic.id} is in use by {owner}.")
        return interfaces

    def _complete(self, vm: Resource, wish: MachineWish) -> None:
        """Fill in what Azure adds to the document, and take out what it never shows again."""
        properties = vm.properties
        properties |= {"vmId": new_guid(), "timeCreated": now()}
        properties["hardwareProfile"]["vmSize"] = wish.size
        properties["storageProfile"].setdefault("dataDisks", [])
        os_disk = properties["storageProfile"]["osDisk"]
        os_disk |= {"osType": "Windows", "diskSizeGB": wish.os_disk_gib}
        if wish.disk is not None:
            os_disk["name"] = wish.disk.name
            os_disk["managedDisk"]["id"] = wish.disk.id
            os_disk.setdefault("deleteOption", "Detach")
            return
        os_disk.setdefault("name", f"{vm.name}_OsDisk_1_{new_guid().replace('-', '')}")
        os_disk.setdefault("deleteOption", "Detach")
        group_id = vm.id.split("/providers/")[0]
        os_disk.setdefault("managedDisk", {}).setdefault("storageAccountType", "Premium_LRS")
        os_disk["managedDisk"]["id"] = f"{group_id}/providers/{DISK}/{os_disk['name']}"
        properties["osProfile"].pop("adminPassword", None)
        properties["osProfile"] |= {"allowExtensionOperations": True, "requireGuestProvisionSignal": True, "secrets": []}

    def _os_disk(self, vm: Resource, wish: MachineWish) -> Resource:
        """The disk resource of the VM, made from its image unless it was there."""
        if wish.disk is not None:
            return self._cloud.require(wish.disk.id)
        os_disk = vm.properties["storageProfile"]["osDisk"]
        unique_id = new_guid()
        if wish.platform is not None:
            base = wish.platform
            reference = BaseImageReference(base.publisher, base.offer, base.sku, base.version, base.generation)
            self._cloud.disks.create_from_base(unique_id, reference, wish.os_disk_gib)
        elif wish.image is not None:
            self._cloud.disks.import_vhd(vhd_of(self._cloud, wish.image), unique_id, wish.generation, wish.os_disk_gib)
        document: Json = {
            "id": os_disk["managedDisk"]["id"],
            "name": os_disk["name"],
            "type": DISK,
            "location": vm.location,
            "tags": vm.document["tags"],
            "sku": {"name": os_disk["managedDisk"]["storageAccountType"]},
            "properties": {
                "osType": "Windows",
                "hyperVGeneration": wish.generation,
                "diskSizeGB": wish.os_disk_gib,
                "creationData": {"createOption": "FromImage"},
                "uniqueId": unique_id,
                "timeCreated": now(),
                "provisioningState": "Succeeded",
            },
        }
        if wish.trusted_launch:
            document["properties"]["securityProfile"] = {"securityType": "TrustedLaunch"}
        return Resource(document["id"], DISK, document)

    def _await_agent(self, vm: Resource) -> None:
        """Block until the VM agent reports; raises ArmError as Azure does when it never does."""
        deadline = time.monotonic() + self._cloud.provisioning_timeout_s
        while not self._cloud.guests.agent_ready(vm.id.lower()):
            if time.monotonic() > deadline or self._cloud.operations.stopping.wait(0.05):
                raise ArmError(
                    409,
                    "OSProvisioningTimedOut",
                    f"OS Provisioning for VM '{vm.name}' did not finish in the allotted time.",
                )


def allocate(cloud: Cloud, size: str, location: str) -> None:
    """Raises ArmError when the fault plan says that there is no room for a VM of this size."""
    fault = cloud.faults.should("arm.vm.allocate", size)
    if fault is not None:
        message = fault.message or f"Allocation failed. We do not have sufficient capacity for the requested VM size {size} in {location}."
        raise ArmError(fault.status, fault.code, message)


def machine_spec(cloud: Cloud, vm: Resource, os_profile: OsProfile | None) -> MachineSpec:
    """What the guest host needs to switch the VM on."""
    disk = cloud.require(vm.properties["storageProfile"]["osDisk"]["managedDisk"]["id"])
    return MachineSpec(
        vm_id=vm.id.lower(),
        disk_id=disk.properties["uniqueId"],
        generation=disk.properties.get("hyperVGeneration", "V1"),
        secure_boot=bool(vm.internal.get("secure_boot")),
        os_disk_gib=disk.properties["diskSizeGB"],
        os_profile=os_profile,
        outbound_allowed=outbound_allowed(cloud.store, vm),
    )
