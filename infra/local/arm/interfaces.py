"""Network interfaces."""

from __future__ import annotations

import hashlib

from infra.local.arm.cloud import Cloud
from infra.local.arm.errors import ArmError, invalid
from infra.local.arm.exchange import NETWORK, Answer, Call, Route
from infra.local.arm.kinds import NIC
from infra.local.arm.network import mark_network, plain_routes
from infra.local.arm.outbound import apply_outbound_rules
from infra.local.arm.removal import Removal, addresses_of
from infra.local.state import Resource


class Interfaces:
    """Microsoft.Network/networkInterfaces."""

    def __init__(self, cloud: Cloud, removal: Removal) -> None:
        self._cloud = cloud
        self._removal = removal

    def routes(self) -> list[Route]:
        """PUT, PATCH, GET, DELETE and the lists."""
        base = f"{NETWORK}/networkInterfaces"
        return [
            Route("PUT", f"{base}/{{name}}", self._put),
            *plain_routes(self._cloud, self._removal, base, NIC, "network.delete"),
        ]

    def _put(self, call: Call) -> Answer:
        resource, existing = self._cloud.draft(call, NIC)
        configurations = resource.properties.get("ipConfigurations")
        if not configurations:
            raise invalid("Network interface must have at least one IP configuration.", "ipConfigurations")
        group = resource.properties.get("networkSecurityGroup")
        if group:
            self._cloud.referenced(group["id"], resource.location, resource.id)
        for position, configuration in enumerate(configurations):
            configuration["id"] = f"{resource.id}/ipConfigurations/{configuration['name']}"
            self._check(resource, configuration["id"], configuration.setdefault("properties", {}))
            configuration["properties"].setdefault("privateIPAllocationMethod", "Dynamic")
            configuration["properties"].setdefault("privateIPAddress", _private_address(resource.id, position))
            configuration["properties"]["primary"] = position == 0
            configuration["properties"]["provisioningState"] = "Succeeded"
        digest = hashlib.sha256(resource.id.lower().encode()).hexdigest().upper()
        resource.properties["macAddress"] = f"00-0D-3A-{digest[0:2]}-{digest[2:4]}-{digest[4:6]}"  # Microsoft's prefix.
        if existing is not None and "virtualMachine" in existing.properties:
            resource.properties["virtualMachine"] = existing.properties["virtualMachine"]
        mark_network(resource, existing)

        def work(stored: Resource) -> None:
            self._bind_addresses(stored, existing)
            self._cloud.store.put(stored)
            vm = self._cloud.store.get(stored.properties.get("virtualMachine", {}).get("id", ""))
            if vm is not None:
                apply_outbound_rules(self._cloud, vm)

        return self._cloud.begin_put(call, "network.create", resource, work, created=existing is None)

    def _check(self, nic: Resource, configuration_id: str, properties: dict[str, dict[str, str]]) -> None:
        subnet = properties.get("subnet", {}).get("id", "")
        network = self._cloud.referenced(subnet.rsplit("/subnets/", 1)[0], nic.location, nic.id)
        if not any(entry["id"].lower() == subnet.lower() for entry in network.properties["subnets"]):
            raise ArmError(400, "InvalidResourceReference", f"Resource {subnet} referenced by resource {nic.id} was not found.")
        address_id = properties.get("publicIPAddress", {}).get("id")
        if address_id:
            address = self._cloud.referenced(address_id, nic.location, nic.id)
            used_by = address.properties.get("ipConfiguration", {}).get("id", configuration_id)
            if used_by.lower() != configuration_id.lower():
                raise ArmError(
                    400, "PublicIPAddressInUse", f"Resource {nic.id} is referencing public IP address {address_id} used by {used_by}."
                )

    def _bind_addresses(self, nic: Resource, existing: Resource | None) -> None:
        """Write into each public address which IP configuration has it, and free those no longer named."""
        for address_id in addresses_of(existing) if existing else []:
            address = self._cloud.store.get(address_id)
            if address is not None:
                address.properties.pop("ipConfiguration", None)
                self._cloud.store.put(address)
        for configuration in nic.properties["ipConfigurations"]:
            address = self._cloud.store.get(configuration["properties"].get("publicIPAddress", {}).get("id", ""))
            if address is not None:
                address.properties["ipConfiguration"] = {"id": configuration["id"]}
                self._cloud.store.put(address)


def _private_address(nic_id: str, position: int) -> str:
    digest = hashlib.sha256(f"{nic_id.lower()}/{position}".encode()).digest()
    return f"10.0.{digest[0] % 64}.{4 + digest[1] % 250}"
