"""Whether the network around a VM lets it reach the Internet, from the security rules in force.

Rules are tried by priority, the first match decides; without one, AllowInternetOutBound holds (learn.microsoft.com, "Network security
groups"). The groups of the subnet and of the NIC must both allow it.
"""

from __future__ import annotations

from collections.abc import Iterator

from infra.local.arm.cloud import Cloud
from infra.local.arm.removal import subnets_of
from infra.local.state import Json, Resource, ResourceStore

WEB_PORT = 443


def outbound_allowed(store: ResourceStore, vm: Resource) -> bool:
    """True when HTTPS to the Internet passes all security groups around the VM."""
    return all(_allows_web(group) for group in _groups_around(store, vm))


def apply_outbound_rules(cloud: Cloud, vm: Resource) -> None:
    """Tell a running guest what the rules are now; one that is switched on later is told then."""
    if cloud.guests.power_state(vm.id.lower()) == "running":
        cloud.guests.set_outbound_allowed(vm.id.lower(), outbound_allowed(cloud.store, vm))


def _groups_around(store: ResourceStore, vm: Resource) -> Iterator[Resource]:
    for reference in vm.properties.get("networkProfile", {}).get("networkInterfaces", []):
        nic = store.get(reference["id"])
        if nic is None:
            continue
        holders: list[Json] = [nic.properties]
        for subnet_id in subnets_of(nic):
            network = store.get(subnet_id.rsplit("/subnets/", 1)[0])
            subnets = network.properties["subnets"] if network else []
            holders += [subnet["properties"] for subnet in subnets if subnet["id"].lower() == subnet_id.lower()]
        for holder in holders:
            group = store.get(holder.get("networkSecurityGroup", {}).get("id", ""))
            if group is not None:
                yield group


def _allows_web(group: Resource) -> bool:
    rules = [rule["properties"] for rule in group.properties.get("securityRules", [])]
    outbound = [rule for rule in rules if str(rule.get("direction")).lower() == "outbound"]
    for rule in sorted(outbound, key=lambda properties: int(properties["priority"])):
        if _covers_internet(rule) and _covers_port(rule) and str(rule.get("protocol", "*")).lower() in ("*", "tcp"):
            return str(rule.get("access")).lower() == "allow"
    return True


def _covers_internet(rule: Json) -> bool:
    prefixes = [rule.get("destinationAddressPrefix"), *rule.get("destinationAddressPrefixes", [])]
    return any(str(prefix).lower() in ("*", "internet", "0.0.0.0/0") for prefix in prefixes if prefix)


def _covers_port(rule: Json) -> bool:
    for text in [rule.get("destinationPortRange"), *rule.get("destinationPortRanges", [])]:
        if text == "*":
            return True
        low, _, high = str(text or "").partition("-")
        if low.isdigit() and int(low) <= WEB_PORT <= int(high or low):
            return True
    return False
