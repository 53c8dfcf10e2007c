"""Network security groups, virtual networks with their subnets, public addresses."""

from __future__ import annotations

from infra.local.arm.cloud import Cloud, new_guid
from infra.local.arm.errors import invalid
from infra.local.arm.exchange import NETWORK, Answer, Call, Route
from infra.local.arm.kinds import NSG, PUBLIC_IP, VM, VNET
from infra.local.arm.outbound import apply_outbound_rules
from infra.local.arm.removal import Removal
from infra.local.state import Resource

STAND_IN_ADDRESS = "127.0.0.1"
"""Public address of every VM: the stand-in listens on this machine only, and its guests differ by port, not by address."""


class Network:
    """The parts of Microsoft.Network that are not network interfaces."""

    def __init__(self, cloud: Cloud, removal: Removal) -> None:
        self._cloud = cloud
        self._removal = removal

    def routes(self) -> list[Route]:
        """PUT, PATCH, GET, DELETE and the lists of the three types, and GET of a subnet."""
        routes = [Route("GET", f"{NETWORK}/virtualNetworks/{{name}}/subnets/{{subnet}}", self._get_subnet)]
        for segment, kind, put in (
            ("networkSecurityGroups", NSG, self._put_security_group),
            ("virtualNetworks", VNET, self._put_virtual_network),
            ("publicIPAddresses", PUBLIC_IP, self._put_public_address),
        ):
            routes += [
                Route("PUT", f"{NETWORK}/{segment}/{{name}}", put),
                *plain_routes(self._cloud, self._removal, f"{NETWORK}/{segment}", kind, "network.delete"),
            ]
        return routes

    def _put_security_group(self, call: Call) -> Answer:
        resource, existing = self._cloud.draft(call, NSG)
        rules = resource.properties.setdefault("securityRules", [])
        seen: set[tuple[str, int]] = set()
        for rule in rules:
            properties = rule.get("properties", {})
            place = (str(properties.get("direction")), int(properties.get("priority", 0)))
            if not 100 <= place[1] <= 4096:
                raise invalid(f"Security rule {rule.get('name')} has priority {place[1]}; it must be between 100 and 4096.", "priority")
            if place in seen:
                raise invalid(
                    f"Security rule {rule.get('name')} conflicts with another rule of the same priority and direction.", "priority"
                )
            seen.add(place)
            rule["id"] = f"{resource.id}/securityRules/{rule.get('name')}"
            properties["provisioningState"] = "Succeeded"
        mark_network(resource, existing)

        def work(stored: Resource) -> None:
            self._cloud.store.put(stored)
            self._apply_to_all()

        return self._cloud.begin_put(call, "network.create", resource, work, created=existing is None)

    def _apply_to_all(self) -> None:
        """Tell the guests: rules work on running machines at once."""
        for vm in self._cloud.store.find(kind=VM):
            apply_outbound_rules(self._cloud, vm)

    def _put_virtual_network(self, call: Call) -> Answer:
        resource, existing = self._cloud.draft(call, VNET)
        if not resource.properties.get("addressSpace", {}).get("addressPrefixes"):
            raise invalid("Required parameter 'addressSpace.addressPrefixes' is missing.", "addressSpace")
        for subnet in resource.properties.setdefault("subnets", []):
            subnet["id"] = f"{resource.id}/subnets/{subnet.get('name')}"
            subnet.setdefault("properties", {})["provisioningState"] = "Succeeded"
            group = subnet["properties"].get("networkSecurityGroup")
            if group:
                self._cloud.referenced(group["id"], resource.location, subnet["id"])
        mark_network(resource, existing)
        return self._cloud.begin_put(call, "network.create", resource, self._cloud.store.put, created=existing is None)

    def _get_subnet(self, call: Call) -> Answer:
        network = self._cloud.require(call.resource_id.rsplit("/subnets/", 1)[0])
        for subnet in network.properties["subnets"]:
            if subnet["name"].lower() == call.parameters["subnet"].lower():
                return Answer(200, subnet)
        self._cloud.require(call.resource_id)
        raise AssertionError("a subnet is never a resource of its own here")

    def _put_public_address(self, call: Call) -> Answer:
        resource, existing = self._cloud.draft(call, PUBLIC_IP)
        resource.document.setdefault("sku", {"name": "Standard", "tier": "Regional"})
        resource.properties.setdefault("publicIPAddressVersion", "IPv4")
        method = resource.properties.setdefault("publicIPAllocationMethod", "Static")
        if resource.document["sku"]["name"] == "Standard" and method != "Static":
            raise invalid("A public IP address of the Standard SKU must have the Static allocation method.", "publicIPAllocationMethod")
        resource.properties["ipAddress"] = STAND_IN_ADDRESS
        if existing is not None and "ipConfiguration" in existing.properties:
            resource.properties["ipConfiguration"] = existing.properties["ipConfiguration"]
        mark_network(resource, existing)
        return self._cloud.begin_put(call, "network.create", resource, self._cloud.store.put, created=existing is None)


def mark_network(resource: Resource, existing: Resource | None) -> None:
    """Give a network resource its GUID, which stays, and its etag, which changes with each PUT."""
    resource.properties["resourceGuid"] = existing.properties["resourceGuid"] if existing else new_guid()
    resource.document["etag"] = f'W/"{new_guid()}"'


def plain_routes(cloud: Cloud, removal: Removal, base: str, kind: str, delete_operation: str) -> list[Route]:
    """GET, PATCH of tags, DELETE and both lists, which are alike for most types."""
    subscription_base = base.replace("/resourceGroups/{group}", "")
    return [
        Route("GET", f"{base}/{{name}}", lambda call: Answer(200, cloud.require(call.resource_id).document)),
        Route("PATCH", f"{base}/{{name}}", cloud.patch_tags),
        Route("DELETE", f"{base}/{{name}}", lambda call: removal.delete(call, delete_operation)),
        Route("GET", base, lambda call: cloud.list_answer(call, kind)),
        Route("GET", subscription_base, lambda call: cloud.list_answer(call, kind)),
    ]
