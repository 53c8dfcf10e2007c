"""Cloud: what every resource provider of the stand-in shares."""

from __future__ import annotations

import copy
import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from infra.local.arm.errors import ArmError, invalid, not_found
from infra.local.arm.exchange import Answer, Call
from infra.local.arm.operations import Operations
from infra.local.arm.page_blobs import PageBlobs
from infra.local.contracts import DiskStore, GuestHost
from infra.local.faults import Faults
from infra.local.latency import LatencyProfile
from infra.local.pretended_date import PretendedDate
from infra.local.state import Json, Resource, ResourceStore

REGIONS = (
    "westus3",
    "westus2",
    "eastus",
    "eastus2",
    "centralus",
    "southcentralus",
    "northeurope",
    "westeurope",
    "uksouth",
    "southeastasia",
)
GROUP_TYPE = "Microsoft.Resources/resourceGroups"


@dataclass
class Cloud:
    """The stand-in's inside: storage of documents, operations, disks, guests, page blobs, faults, latency."""

    subscription_id: str
    location: str
    vm_sizes: tuple[str, ...]
    store: ResourceStore
    operations: Operations
    disks: DiskStore
    guests: GuestHost
    blobs: PageBlobs
    faults: Faults
    latency: LatencyProfile
    scratch: Path
    """Folder for VHD files on their way in or out."""
    vhds: Path
    """Folder of the VHD files behind managed images."""
    today: PretendedDate = field(default_factory=PretendedDate)
    """The day on which the marketplace is looked at."""
    provisioning_timeout_s: float = 60.0
    """How long a new VM may take until its agent reports; Azure gives it about 20 minutes."""

    def require(self, resource_id: str) -> Resource:
        """The resource; raises ArmError 404 when it or its group does not exist."""
        resource = self.store.get(resource_id)
        if resource is None:
            self.require_group("/".join(resource_id.split("/")[:5]))
            raise not_found(resource_id)
        return resource

    def require_group(self, group_id: str) -> Resource:
        """The resource group; raises ArmError 404."""
        group = self.store.get(group_id)
        if group is None:
            name = group_id.rsplit("/", 1)[-1]
            raise ArmError(404, "ResourceGroupNotFound", f"Resource group '{name}' could not be found.")
        return group

    def referenced(self, resource_id: str, location: str, by: str) -> Resource:
        """A resource that another one names; raises ArmError 400 when it is missing or in another region."""
        resource = self.store.get(resource_id)
        if resource is None or resource.location != location:
            raise ArmError(
                400,
                "InvalidResourceReference",
                f"Resource {resource_id} referenced by resource {by} was not found. "
                "Please make sure that the referenced resource exists, and that both resources are in the same region.",
            )
        return resource

    def draft(self, call: Call, kind: str) -> tuple[Resource, Resource | None]:
        """(the resource as the PUT wants it, what is there now); checks group, location and tags as ARM does before any provider."""
        group = self.require_group(call.group_id)
        existing = self.store.get(call.resource_id)
        if group.properties.get("provisioningState") == "Deleting":
            raise ArmError(
                409,
                "ResourceGroupBeingDeleted",
                f"The resource group '{group.name}' is in deprovisioning state and cannot perform this operation.",
            )
        location = region(call.body.get("location"))
        if existing is not None and existing.location != location:
            raise ArmError(
                409,
                "InvalidResourceLocation",
                f"The resource '{existing.name}' already exists in location '{existing.location}'. "
                f"A resource with the same name cannot be created in location '{location}'.",
            )
        document: Json = {
            "id": existing.id if existing else call.resource_id,
            "name": call.resource_id.rsplit("/", 1)[-1],
            "type": kind,
            "location": location,
            "tags": tags(call.body),
        }
        for name in ("sku", "zones"):
            if call.body.get(name):
                document[name] = call.body[name]
        document["properties"] = dict(call.properties)
        return Resource(document["id"], kind, document), existing

    def begin_put(
        self,
        call: Call,
        operation: str,
        resource: Resource,
        work: Callable[[Resource], None],
        *,
        created: bool,
        bound: Sequence[Resource] = (),
    ) -> Answer:
        """Store the resource as Creating or Updating (and with it those it binds), run `work` on it, answer with the address to poll."""
        resource.properties["provisioningState"] = "Creating" if created else "Updating"

        def finish() -> None:
            work(resource)
            resource.properties["provisioningState"] = "Succeeded"
            self.store.put(resource)

        def first() -> None:
            for stored in (resource, *bound):
                self.store.put(stored)

        body = copy.deepcopy(resource.document)
        started = self.operations.start(operation, resource.id, finish, first=first, failed=lambda: self._put_failed(resource))
        return Answer(_accepted(resource.type, created), body, self.operations.headers(call, started))

    def begin(self, call: Call, operation: str, resource_id: str, work: Callable[[], Json | None]) -> Answer:
        """Run an action or a deletion, and answer 202 with the addresses to poll."""
        started = self.operations.start(operation, resource_id, work)
        return Answer(202, None, self.operations.headers(call, started, location=True))

    def begin_delete(self, call: Call, operation: str, resource: Resource, work: Callable[[], None]) -> Answer:
        """Run a deletion, during which the resource says that it is being deleted, and answer 202 with the addresses to poll."""
        resource.properties["provisioningState"] = "Deleting"

        started = self.operations.start(
            operation, resource.id, work, first=lambda: self.store.put(resource), failed=lambda: self._put_failed(resource)
        )
        return Answer(202, None, self.operations.headers(call, started, location=True))

    def _put_failed(self, resource: Resource) -> None:
        resource.properties["provisioningState"] = "Failed"
        self.store.put(resource)

    def list_answer(self, call: Call, kind: str) -> Answer:
        """All resources of a type in the group (or subscription) addressed."""
        if "group" in call.parameters:
            self.require_group(call.group_id)
            under = call.group_id
        else:
            under = f"/subscriptions/{call.parameters['subscription']}"
        return Answer(200, {"value": [resource.document for resource in self.store.find(kind=kind, under=under)]})

    def patch_tags(self, call: Call) -> Answer:
        """Replace a resource's tags; raises ArmError 501 for a PATCH of anything else."""
        resource = self.require(call.resource_id)
        if set(call.body) - {"tags"}:
            raise ArmError(501, "NotImplementedByStandIn", f"The stand-in cloud changes only tags by PATCH, not {sorted(call.body)}.")
        resource.document["tags"] = tags(call.body)
        self.store.put(resource)
        return Answer(200, resource.document)


def _accepted(kind: str, created: bool) -> int:
    """The status of an accepted PUT; disks and snapshots answer 202 where the others answer 201 or 200 (azure-mgmt-compute, operations)."""
    if kind in ("Microsoft.Compute/disks", "Microsoft.Compute/snapshots"):
        return 202
    return 201 if created else 200


def region(value: object) -> str:
    """A region's name in its short form; raises ArmError when it is missing or not one of the stand-in's."""
    if not isinstance(value, str) or not value:
        raise ArmError(400, "LocationRequired", "The location property is required for this definition.")
    name = value.lower().replace(" ", "")
    if name not in REGIONS:
        raise ArmError(
            400,
            "LocationNotAvailableForResourceType",
            f"The provided location '{value}' is not available. List of available regions is '{','.join(REGIONS)}'.",
        )
    return name


def tags(body: Json) -> Json:
    """The body's tags; raises ArmError for what ARM refuses (learn.microsoft.com: "Use tags to organize your Azure resources")."""
    found = body.get("tags") or {}
    if not isinstance(found, dict) or any(not isinstance(value, str) for value in found.values()):
        raise invalid("Tags must be an object of strings.", "tags")
    for name, value in found.items():
        if re.search(r"[<>%&\\?/\x00-\x1f]", name):
            raise ArmError(
                400, "InvalidTagNameCharacters", f"The tag names '{name}' have reserved characters '<,>,%,&,\\,?,/' or control characters."
            )
        if len(name) > 512:
            raise ArmError(400, "InvalidTagNameLength", "Tag name too large: the limit is 512 characters.")
        if len(value) > 256:
            raise ArmError(400, "InvalidTagValueLength", f"The value of tag '{name}' is too large: the limit is 256 characters.")
    if len(found) > 50:
        raise ArmError(400, "InvalidTagCount", "A resource can have at most 50 tags.")
    return found


def now() -> str:
    """The time in UTC as ARM writes it."""
    return datetime.now(UTC).isoformat()


def new_guid() -> str:
    """A random GUID."""
    return str(uuid.uuid4())
