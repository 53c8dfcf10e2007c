"""Resource groups, and the lists of resources by tag."""

from __future__ import annotations

import re

from infra.local.arm.cloud import GROUP_TYPE, Cloud, region, tags
from infra.local.arm.errors import ArmError, not_implemented
from infra.local.arm.exchange import GROUP, Answer, Call, Route
from infra.local.arm.removal import Removal
from infra.local.state import Json, Resource


class ResourceGroups:
    """Create, read, list, delete with all that is inside."""

    def __init__(self, cloud: Cloud, removal: Removal) -> None:
        self._cloud = cloud
        self._removal = removal

    def routes(self) -> list[Route]:
        """Everything below /resourceGroups, and /resources."""
        subscription = "/subscriptions/{subscription}"
        return [
            Route("PUT", GROUP, self._put),
            Route("PATCH", GROUP, self._patch),
            Route("GET", GROUP, self._get),
            Route("HEAD", GROUP, self._head),
            Route("DELETE", GROUP, self._delete),
            Route("GET", f"{subscription}/resourceGroups", self._list),
            Route("GET", f"{subscription}/resources", self._list_resources),
            Route("GET", GROUP, self._list_resources, action="resources"),
        ]

    def _put(self, call: Call) -> Answer:
        location = region(call.body.get("location"))
        name = call.parameters["group"]
        if not re.fullmatch(r"[\w.()-]{1,90}", name) or name.endswith("."):
            raise ArmError(400, "InvalidResourceGroup", f"The provided resource group name '{name}' is not valid.")
        existing = self._cloud.store.get(call.resource_id)
        if existing is not None and existing.location != location:
            raise ArmError(
                409,
                "InvalidResourceGroupLocation",
                f"Invalid resource group location '{location}'. The Resource group already exists in location '{existing.location}'.",
            )
        if existing is not None and existing.properties["provisioningState"] == "Deleting":
            raise ArmError(409, "ResourceGroupBeingDeleted", f"The resource group '{name}' is in deprovisioning state.")
        document: Json = {
            "id": existing.id if existing else call.resource_id,
            "name": name,
            "type": GROUP_TYPE,
            "location": location,
            "tags": tags(call.body),
            "properties": {"provisioningState": "Succeeded"},
        }
        self._cloud.store.put(Resource(document["id"], GROUP_TYPE, document))
        return Answer(200 if existing else 201, document)

    def _patch(self, call: Call) -> Answer:
        self._cloud.require_group(call.group_id)
        return self._cloud.patch_tags(call)

    def _get(self, call: Call) -> Answer:
        return Answer(200, self._cloud.require_group(call.group_id).document)

    def _head(self, call: Call) -> Answer:
        return Answer(204 if self._cloud.store.get(call.group_id) else 404)

    def _list(self, call: Call) -> Answer:
        groups = self._cloud.store.find(kind=GROUP_TYPE, under=f"/subscriptions/{call.parameters['subscription']}")
        return _page(call, [group for group in groups if _selected(call, group)])

    def _list_resources(self, call: Call) -> Answer:
        if "group" in call.parameters:
            under = self._cloud.require_group(call.group_id).id
        else:
            under = f"/subscriptions/{call.parameters['subscription']}"
        found = [resource for resource in self._cloud.store.find(under=under) if resource.type != GROUP_TYPE and _selected(call, resource)]
        return _page(call, found, ("id", "name", "type", "location", "tags", "sku", "zones"))

    def _delete(self, call: Call) -> Answer:
        group = self._cloud.require_group(call.group_id)
        group.properties["provisioningState"] = "Deleting"

        def work() -> Json | None:
            # ARM lets what is under way in the group come to its end first.
            self._cloud.operations.wait_until_idle(group.id)
            try:
                self._removal.remove_group(group)
            except ArmError:
                group.properties["provisioningState"] = "Succeeded"
                self._cloud.store.put(group)
                raise
            return {}

        started = self._cloud.operations.start("resourceGroup.delete", group.id, work, first=lambda: self._cloud.store.put(group))
        return Answer(202, None, self._cloud.operations.headers(call, started, status=False, location=True))


def _page(call: Call, found: list[Resource], fields: tuple[str, ...] = ()) -> Answer:
    top = int(call.query.get("$top", "1000"))
    documents = [
        {name: resource.document[name] for name in fields if name in resource.document} if fields else resource.document
        for resource in found
    ]
    return Answer(200, {"value": documents[:top]})


def _selected(call: Call, resource: Resource) -> bool:
    """Whether $filter selects a resource: tagName eq 'x' [and tagValue eq 'y'], or resourceType eq 'x'."""
    text = call.query.get("$filter", "").strip()
    if not text:
        return True
    tag = re.fullmatch(r"tagName eq '((?:[^']|'')*)'(?: and tagValue eq '((?:[^']|'')*)')?", text, re.IGNORECASE)
    if tag:
        values = {name.lower(): value for name, value in resource.document.get("tags", {}).items()}
        name = tag[1].replace("''", "'").lower()
        return name in values and (tag[2] is None or values[name] == tag[2].replace("''", "'"))
    kind = re.fullmatch(r"resourceType eq '([^']*)'", text, re.IGNORECASE)
    if kind:
        return resource.type.lower() == kind[1].lower()
    raise not_implemented("GET", f"lists with $filter={text}")
