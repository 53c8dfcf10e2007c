"""Managed disks."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import date
from pathlib import Path

from infra.local.arm.access import Access, access_until
from infra.local.arm.cloud import Cloud, new_guid, now
from infra.local.arm.disk_content import checked_size_gib, copy_content, source_in_region
from infra.local.arm.errors import ArmError, invalid, not_implemented
from infra.local.arm.exchange import COMPUTE, Answer, Call, Route
from infra.local.arm.kinds import DISK, SNAPSHOT
from infra.local.arm.marketplace import PlatformImage, platform_image
from infra.local.arm.network import plain_routes
from infra.local.arm.page_blobs import without_token
from infra.local.arm.removal import Removal
from infra.local.contracts import BaseImageReference
from infra.local.state import Json, Resource

BASE = f"{COMPUTE}/disks"


class Disks:
    """Microsoft.Compute/disks: empty, from a snapshot or disk, from a marketplace image, from a VHD blob."""

    def __init__(self, cloud: Cloud, removal: Removal, access: Access) -> None:
        self._cloud = cloud
        self._removal = removal
        self._access = access

    def routes(self) -> list[Route]:
        """PUT, GET with the disk's state, shared access, and the rest."""
        return [
            Route("PUT", f"{BASE}/{{name}}", self._put),
            Route("GET", f"{BASE}/{{name}}", self._get),
            *self._access.routes(f"{BASE}/{{name}}"),
            *plain_routes(self._cloud, self._removal, BASE, DISK, "disk.delete"),
        ]

    def _get(self, call: Call) -> Answer:
        disk = self._cloud.require(call.resource_id)
        disk.properties["diskState"] = disk_state(self._cloud, disk)
        return Answer(200, disk.document)

    def _put(self, call: Call) -> Answer:
        disk, existing = self._cloud.draft(call, DISK)
        if existing is not None:
            refuse_other_source(disk.properties.get("creationData") or {}, existing)
            if not never_made(self._cloud, existing):
                return self._update(call, disk, existing)
        creation = disk.properties.get("creationData") or {}
        disk.properties.update({"uniqueId": new_guid(), "timeCreated": now()})
        option = creation.get("createOption")
        if option == "Empty":
            disk.properties["diskSizeGB"] = checked_size_gib(disk.properties.get("diskSizeGB"), 1)
            return self._begin(call, disk, lambda _: None)
        if option == "Copy":
            return self._copy(call, disk, creation)
        if option == "FromImage":
            return self._from_image(call, disk, creation)
        if option == "Import":
            return self._import(call, disk, creation)
        raise not_implemented("PUT", f"disks with createOption {option!r}")

    def _begin(self, call: Call, disk: Resource, fill: Callable[[Resource], None]) -> Answer:
        return self._cloud.begin_put(call, "disk.create", disk, fill, created=True)

    def _update(self, call: Call, disk: Resource, existing: Resource) -> Answer:
        if disk.properties.get("diskSizeGB", existing.properties["diskSizeGB"]) != existing.properties["diskSizeGB"]:
            raise not_implemented("PUT", "disks with another size")
        existing.document["tags"] = disk.document["tags"]
        return self._cloud.begin_put(call, "disk.create", existing, self._cloud.store.put, created=False)

    def _copy(self, call: Call, disk: Resource, creation: Json) -> Answer:
        source = source_in_region(self._cloud, creation.get("sourceResourceId", ""), disk.location, (DISK, SNAPSHOT))
        size_gib = checked_size_gib(disk.properties.get("diskSizeGB"), source.properties["diskSizeGB"])
        inherit(disk, source, size_gib)
        return self._begin(call, disk, lambda made: copy_content(self._cloud, source, made.properties["uniqueId"], size_gib))

    def _from_image(self, call: Call, disk: Resource, creation: Json) -> Answer:
        reference = (creation.get("imageReference") or {}).get("id", "")
        image = image_by_id(reference, self._cloud.today.day)
        size_gib = checked_size_gib(disk.properties.get("diskSizeGB"), image.size_gib)
        disk.properties.update({"hyperVGeneration": image.generation, "osType": "Windows", "diskSizeGB": size_gib})
        base = BaseImageReference(image.publisher, image.offer, image.sku, image.version, image.generation)
        return self._begin(call, disk, lambda made: self._cloud.disks.create_from_base(made.properties["uniqueId"], base, size_gib))

    def _import(self, call: Call, disk: Resource, creation: Json) -> Answer:
        source = creation.get("sourceUri")
        if not source or not creation.get("storageAccountId"):
            raise invalid("createOption Import needs 'sourceUri' and 'storageAccountId'.", "creationData")
        # Its token is needed once, and is nobody's business afterwards.
        creation["sourceUri"] = without_token(source)
        disk.properties.setdefault("hyperVGeneration", "V1")
        size_gib = checked_size_gib(disk.properties.get("diskSizeGB"), 1)
        disk.properties["diskSizeGB"] = size_gib

        def fill(made: Resource) -> None:
            with tempfile.TemporaryDirectory(dir=self._cloud.scratch) as folder:
                vhd = Path(folder) / "disk.vhd"
                self._cloud.blobs.download(source, vhd)
                self._cloud.disks.import_vhd(vhd, made.properties["uniqueId"], made.properties["hyperVGeneration"], size_gib)

        return self._begin(call, disk, fill)


def image_by_id(reference: str, day: date | None) -> PlatformImage:
    """The marketplace version that an ARM id names, as of a day (None: the last one); raises ArmError."""
    parts = reference.strip("/").split("/")
    names = {parts[i].lower(): parts[i + 1] for i in range(0, len(parts) - 1)}
    if not {"publishers", "offers", "skus", "versions"} <= names.keys():
        raise not_implemented("PUT", f"disks from image {reference!r}")
    return platform_image(names["publishers"], names["offers"], names["skus"], names["versions"], day)


def inherit(target: Resource, source: Resource, size_gib: int) -> None:
    """What a copy takes over from its source; not the generation, which Azure takes from the request or leaves open.

    https://github.com/MicrosoftDocs/azure-docs/issues/62708, https://github.com/microsoft/AzureStorageExplorer/issues/4288
    """
    for name in ("osType", "securityProfile"):
        if name in source.properties:
            target.properties.setdefault(name, source.properties[name])
    target.properties["diskSizeGB"] = size_gib
    target.properties["creationData"]["sourceUniqueId"] = source.properties["uniqueId"]


def refuse_other_source(creation: Json, existing: Resource) -> None:
    """Raises ArmError when a PUT names another source than the one that a disk or snapshot was made from."""
    if _source_named(creation) != _source_named(existing.properties["creationData"]):
        raise ArmError(409, "PropertyChangeNotAllowed", "Changing property 'creationData' is not allowed.", target="creationData")


def _source_named(creation: Json) -> Json:
    """Which source creationData names: without what Azure added, and without the token of an address."""
    named = {name: value for name, value in creation.items() if name != "sourceUniqueId"}
    return named | {"sourceUri": without_token(named["sourceUri"])} if "sourceUri" in named else named


def never_made(cloud: Cloud, existing: Resource) -> bool:
    """True for a disk or snapshot whose creation failed: a PUT makes it then, instead of changing it."""
    return existing.properties["provisioningState"] == "Failed" and not cloud.disks.exists(existing.properties["uniqueId"])


def disk_state(cloud: Cloud, disk: Resource) -> str:
    """diskState as Azure words it."""
    if access_until(disk) is not None:
        return "ActiveSAS"
    vm = cloud.store.get(disk.document.get("managedBy", ""))
    if vm is None:
        return "Unattached"
    return "Reserved" if vm.internal.get("deallocated") else "Attached"
