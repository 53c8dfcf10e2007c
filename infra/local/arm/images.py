"""Managed images: a generalized VHD, from a blob or from a generalized VM, kept as a file until a VM is made from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from infra.local.arm.cloud import Cloud, new_guid
from infra.local.arm.disk_content import source_in_region
from infra.local.arm.errors import ArmError, invalid, not_allowed, not_implemented
from infra.local.arm.exchange import COMPUTE, Answer, Call, Route
from infra.local.arm.kinds import DISK, IMAGE, SNAPSHOT, VM
from infra.local.arm.network import plain_routes
from infra.local.arm.removal import Removal
from infra.local.state import Json, Resource

BASE = f"{COMPUTE}/images"
GIB = 1024**3


class Images:
    """Microsoft.Compute/images."""

    def __init__(self, cloud: Cloud, removal: Removal) -> None:
        self._cloud = cloud
        self._removal = removal

    def routes(self) -> list[Route]:
        """PUT and the rest."""
        return [
            Route("PUT", f"{BASE}/{{name}}", self._put),
            *plain_routes(self._cloud, self._removal, BASE, IMAGE, "image.delete"),
        ]

    def _put(self, call: Call) -> Answer:
        image, existing = self._cloud.draft(call, IMAGE)
        if existing is not None and existing.properties["provisioningState"] != "Failed":
            raise ArmError(409, "PropertyChangeNotAllowed", f"Image {image.name} exists; what it was made from can not be changed.")
        image.internal = {"vhd": new_guid()}
        vm_id = (image.properties.get("sourceVirtualMachine") or {}).get("id")
        if vm_id:
            return self._from_machine(call, image, vm_id)
        os_disk = (image.properties.get("storageProfile") or {}).get("osDisk") or {}
        if os_disk.get("osType") != "Windows":
            raise invalid("Required parameter 'storageProfile.osDisk.osType' is missing or not Windows.", "osDisk.osType")
        if os_disk.get("osState") != "Generalized":
            raise not_implemented("PUT", f"images with osState {os_disk.get('osState')!r}")
        image.properties.setdefault("hyperVGeneration", "V1")
        if os_disk.get("blobUri"):
            return self._begin(call, image, lambda target: self._cloud.blobs.download(os_disk["blobUri"], target))
        source_id = (os_disk.get("managedDisk") or os_disk.get("snapshot") or {}).get("id", "")
        source = source_in_region(self._cloud, source_id, image.location, (DISK, SNAPSHOT))
        return self._begin(call, image, lambda target: self._cloud.disks.export_vhd(source.properties["uniqueId"], target))

    def _from_machine(self, call: Call, image: Resource, vm_id: str) -> Answer:
        vm = source_in_region(self._cloud, vm_id, image.location, (VM,))
        if (vm.properties.get("securityProfile") or {}).get("securityType") == "TrustedLaunch":
            # Code and message as reported in hashicorp/packer#13189.
            raise not_allowed("Creation of managed images are not supported for virtual machine with TrustedLaunch security type.")
        if not vm.internal.get("generalized"):
            raise not_allowed(f"The source virtual machine {vm.name} is not generalized.")
        disk = self._cloud.require(vm.properties["storageProfile"]["osDisk"]["managedDisk"]["id"])
        generation = disk.properties.get("hyperVGeneration", "V1")
        if image.properties.setdefault("hyperVGeneration", generation) != generation:
            raise invalid(f"The source virtual machine is of generation {generation}.", "hyperVGeneration")
        os_disk: Json = {
            "osType": "Windows",
            "osState": "Generalized",
            "managedDisk": {"id": disk.id},
            "diskSizeGB": disk.properties["diskSizeGB"],
        }
        image.properties["storageProfile"] = {"osDisk": os_disk, "dataDisks": []}
        return self._begin(call, image, lambda target: self._cloud.disks.export_vhd(disk.properties["uniqueId"], target))

    def _begin(self, call: Call, image: Resource, fetch: Callable[[Path], None]) -> Answer:
        def work(made: Resource) -> None:
            target = vhd_of(self._cloud, made)
            part = target.with_suffix(".part")
            try:
                fetch(part)
                part.replace(target)
            finally:
                part.unlink(missing_ok=True)
            os_disk = made.properties["storageProfile"]["osDisk"]
            os_disk.setdefault("diskSizeGB", -(-(target.stat().st_size - 512) // GIB))

        return self._cloud.begin_put(call, "image.create", image, work, created=True)


def vhd_of(cloud: Cloud, image: Resource) -> Path:
    """The file behind a managed image."""
    return cloud.vhds / f"{image.internal['vhd']}.vhd"
