"""The network of one VM: an address, an interface and rules that let one port in from one place."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from images.errors import CloudError
from infra.azure.refusals import refusals
from infra.azure.session import Cloud
from infra.azure.vm_request import BuildVm, Role

NETWORK_DEADLINE_S = 900
SUBNET = "default"
REFUSE_OUTBOUND = "refuse-outbound"
ADDRESS_RANGE = "10.20.0.0/24"


@dataclass(frozen=True)
class VmNetwork:
    """The parts that a VM needs, by id."""

    interface_id: str
    address: str
    network_security_group: str


def network_security_group_name(role: Role) -> str:
    """Name of the group that guards the VM of a role."""
    return f"{role}-nsg"


def make_network(
    cloud: Cloud, group: str, role: Role, tags: dict[str, str], *, port: int, source_address: str, on_event: Callable[[str], None]
) -> VmNetwork:
    """Security group, virtual network and public address side by side, then the interface. Raises CloudError."""
    from azure.mgmt.network import models

    network, finish = cloud.network, cloud.wait.finish
    envelope: dict[str, Any] = {"location": cloud.profile.location, "tags": tags}
    allow_winrm = {"name": "allow-winrm", "properties": _rule("Inbound", "Allow", "Tcp", source_address, str(port))}
    security = models.NetworkSecurityGroup(envelope | {"properties": {"securityRules": [allow_winrm]}})
    subnet = {"name": SUBNET, "properties": {"addressPrefix": ADDRESS_RANGE}}
    virtual = models.VirtualNetwork(envelope | {"properties": {"addressSpace": {"addressPrefixes": [ADDRESS_RANGE]}, "subnets": [subnet]}})
    # A Standard address works in every zone and is closed until a security group opens it.
    public = models.PublicIPAddress(envelope | {"sku": {"name": "Standard"}, "properties": {"publicIPAllocationMethod": "Static"}})
    nsg_name, vnet_name, address_name = network_security_group_name(role), f"{role}-vnet", f"{role}-ip"
    with ThreadPoolExecutor(max_workers=3, thread_name_prefix="network") as pool:
        making_security = pool.submit(
            finish,
            f"make security group {nsg_name}",
            lambda polling: network.network_security_groups.begin_create_or_update(group, nsg_name, security, polling=polling),
            deadline_s=NETWORK_DEADLINE_S,
        )
        making_virtual = pool.submit(
            finish,
            f"make virtual network {vnet_name}",
            lambda polling: network.virtual_networks.begin_create_or_update(group, vnet_name, virtual, polling=polling),
            deadline_s=NETWORK_DEADLINE_S,
        )
        making_public = pool.submit(
            finish,
            f"make public address {address_name}",
            lambda polling: network.public_ip_addresses.begin_create_or_update(group, address_name, public, polling=polling),
            deadline_s=NETWORK_DEADLINE_S,
        )
        security_group, virtual_network, public_address = making_security.result(), making_virtual.result(), making_public.result()

    subnets = virtual_network.properties.subnets if virtual_network.properties else None
    if not subnets:
        raise CloudError(f"virtual network {vnet_name} came without its subnet", hint="delete the resource group and build again")
    address = public_address.properties.ip_address if public_address.properties else None
    if not address:
        raise CloudError(f"public address {address_name} has no address", hint="delete the resource group and build again")
    ip_configuration = {
        "name": "primary",
        "properties": {"subnet": {"id": subnets[0].id}, "publicIPAddress": {"id": public_address.id}},
    }
    interface = models.NetworkInterface(
        envelope | {"properties": {"networkSecurityGroup": {"id": security_group.id}, "ipConfigurations": [ip_configuration]}}
    )
    nic_name = f"{role}-nic"
    nic = finish(
        f"make network interface {nic_name}",
        lambda polling: network.network_interfaces.begin_create_or_update(group, nic_name, interface, polling=polling),
        deadline_s=NETWORK_DEADLINE_S,
    )
    on_event(f"network ready, address {address}")
    return VmNetwork(interface_id=str(nic.id), address=address, network_security_group=nsg_name)


def find_address(cloud: Cloud, group: str, role: Role) -> str | None:
    """The public address of a role's VM, or None when there is none. Raises CloudError."""
    from azure.core.exceptions import ResourceNotFoundError

    with refusals(f"look up public address {role}-ip"):
        try:
            found = cloud.network.public_ip_addresses.get(group, f"{role}-ip")
        except ResourceNotFoundError:
            return None
    return found.properties.ip_address if found.properties else None


def refuse_outbound(cloud: Cloud, vm: BuildVm) -> None:
    """Cut the VM off from everything it could call; answers to connections from outside still leave. Raises CloudError.

    Security groups are stateful (https://learn.microsoft.com/azure/virtual-network/network-security-groups-overview), so WinRM goes on
    while the guest can not open a connection of its own.
    """
    from azure.mgmt.network import models

    what = f"refuse outbound traffic of {vm.name}"
    groups = cloud.network.network_security_groups
    with refusals(what):
        security = groups.get(vm.resource_group, vm.network_security_group)
    if security.properties is None:
        raise CloudError(
            f"security group {vm.network_security_group} came without its rules", hint="delete the resource group and build again"
        )
    # The group is written as a whole: nobody else writes it, and repeating this changes nothing.
    rule = models.SecurityRule({"name": REFUSE_OUTBOUND, "properties": _rule("Outbound", "Deny", "*", "*", "*")})
    others = [known for known in security.properties.security_rules or () if known.name != REFUSE_OUTBOUND]
    security.properties.security_rules = [*others, rule]
    cloud.wait.finish(
        what,
        lambda polling: groups.begin_create_or_update(vm.resource_group, vm.network_security_group, security, polling=polling),
        deadline_s=NETWORK_DEADLINE_S,
    )


def _rule(direction: str, access: str, protocol: str, source: str, port: str) -> dict[str, Any]:
    return {
        "priority": 100,
        "direction": direction,
        "access": access,
        "protocol": protocol,
        "sourceAddressPrefix": source,
        "sourcePortRange": "*",
        "destinationAddressPrefix": "*",
        "destinationPortRange": port,
    }
