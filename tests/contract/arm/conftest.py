"""The ARM endpoint behind a real HTTP server, Azurite beside it, and the real azure-mgmt clients in front."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from azure.core.credentials import AccessToken
from azure.core.pipeline.policies import SansIOHTTPPolicy
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.network import NetworkManagementClient
from azure.mgmt.resource.resources import ResourceManagementClient
from starlette.applications import Starlette
from starlette.routing import Route

from infra.local.arm.app import ArmEndpoint
from infra.local.arm.cloud import Cloud
from infra.local.arm.control import Control
from infra.local.arm.operations import Operations
from infra.local.arm.page_blobs import PageBlobs
from infra.local.azurite import Azurite
from infra.local.faults import FaultPlan, Faults
from infra.local.latency import LatencyProfile
from infra.local.loopback import open_listener
from infra.local.state import ResourceStore
from tests.contract.arm.memory_machines import MemoryDiskStore, MemoryGuestHost

SUBSCRIPTION = "57a4d115-0000-4000-8000-000000000001"
REGION = "westus3"
IMAGE_2022 = {
    "publisher": "MicrosoftWindowsServer",
    "offer": "windowsserver2022",
    "sku": "2022-Datacenter-Core-smalldisk",
    "version": "20348.5499.260809",
}
PASSWORD = "Correct-Horse-42-Battery"
METHODS = ["GET", "HEAD", "PUT", "PATCH", "POST", "DELETE"]


class NoCredential:
    """Never asked: the authentication policy of these clients sends no token."""

    def get_token(self, *scopes: str, **options: object) -> AccessToken:
        raise AssertionError("the stand-in asks for no token")


@dataclass
class StandIn:
    """Server, clients, and the inside to look at."""

    url: str
    cloud: Cloud
    disks: MemoryDiskStore
    guests: MemoryGuestHost
    azurite: Azurite
    # Any on purpose: the tests send documents as dicts, which the clients take although their overloads do not say so.
    compute: Any = field(init=False)
    network: Any = field(init=False)
    resources: Any = field(init=False)

    def __post_init__(self) -> None:
        policy: SansIOHTTPPolicy[Any, Any] = SansIOHTTPPolicy()
        options: dict[str, Any] = {"base_url": self.url, "authentication_policy": policy, "polling_interval": 0.02}
        credential = NoCredential()
        self.compute = ComputeManagementClient(credential, SUBSCRIPTION, **options)
        self.network = NetworkManagementClient(credential, SUBSCRIPTION, **options)
        self.resources = ResourceManagementClient(credential, SUBSCRIPTION, **options)

    def strict_compute(self) -> Any:
        """A client that shows each refusal instead of trying again."""
        policy: SansIOHTTPPolicy[Any, Any] = SansIOHTTPPolicy()
        return ComputeManagementClient(
            NoCredential(), SUBSCRIPTION, base_url=self.url, authentication_policy=policy, polling_interval=0.02, retry_total=0
        )

    def close(self) -> None:
        """Close the clients' connections."""
        for client in (self.compute, self.network, self.resources):
            client.close()


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    with Azurite(tmp_path_factory.mktemp("azurite")) as running:
        yield running


@pytest.fixture(scope="session")
def running_stand_in(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    state: Path = tmp_path_factory.mktemp("arm")
    faults, latency = Faults(), LatencyProfile()
    disks, guests = MemoryDiskStore(), MemoryGuestHost()
    cloud = Cloud(
        subscription_id=SUBSCRIPTION,
        location=REGION,
        vm_sizes=("Standard_D4s_v5", "Standard_D8s_v5"),
        store=ResourceStore(state / "resources.sqlite"),
        operations=Operations(faults, latency, REGION),
        disks=disks,
        guests=guests,
        blobs=PageBlobs(azurite.endpoint, azurite.keys),
        faults=faults,
        latency=latency,
        scratch=state,
        vhds=state,
        provisioning_timeout_s=0.3,
    )
    app = Starlette(routes=[*Control(cloud).routes(), Route("/{path:path}", ArmEndpoint(cloud).answer, methods=METHODS)])
    with open_listener() as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", ws="none", timeout_graceful_shutdown=2))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        while not server.started:
            time.sleep(0.01)
        running = StandIn(f"http://127.0.0.1:{listener.getsockname()[1]}", cloud, disks, guests, azurite)
        yield running
        running.close()
        server.should_exit = True
        thread.join()
    cloud.operations.close()
    cloud.store.close()


@pytest.fixture
def stand_in(running_stand_in: StandIn) -> Iterator[StandIn]:
    """The one stand-in of this run, without what an earlier test made go wrong."""
    yield running_stand_in
    running_stand_in.cloud.faults.replace(FaultPlan())
    running_stand_in.guests.never_ready = False
    running_stand_in.guests.unblock.clear()


@pytest.fixture
def group(stand_in: StandIn) -> str:
    """A new resource group."""
    name = f"winvhd-{uuid.uuid4().hex[:8]}"
    stand_in.resources.resource_groups.create_or_update(name, {"location": REGION, "tags": {"purpose": "test"}})
    return name


@dataclass
class Workshop:
    """Makes what a VM needs in one group."""

    stand_in: StandIn
    group: str

    def nic(self, name: str = "nic", *, location: str = REGION, nsg: bool = False) -> str:
        """Id of a network interface with a public address in a new network."""
        network = self.stand_in.network
        subnet: dict[str, Any] = {"name": "default", "properties": {"addressPrefix": "10.0.0.0/24"}}
        vnet = network.virtual_networks.begin_create_or_update(
            self.group,
            f"{name}-vnet",
            {"location": location, "properties": {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}, "subnets": [subnet]}},
        ).result()
        address = network.public_ip_addresses.begin_create_or_update(
            self.group,
            f"{name}-ip",
            {"location": location, "sku": {"name": "Standard"}, "properties": {"publicIPAllocationMethod": "Static"}},
        ).result()
        properties: dict[str, Any] = {
            "ipConfigurations": [
                {"name": "main", "properties": {"subnet": {"id": vnet.subnets[0].id}, "publicIPAddress": {"id": address.id}}}
            ]
        }
        if nsg:
            made = network.network_security_groups.begin_create_or_update(self.group, f"{name}-nsg", {"location": location}).result()
            properties["networkSecurityGroup"] = {"id": made.id}
        body = {"location": location, "properties": properties}
        made_nic = network.network_interfaces.begin_create_or_update(self.group, name, body).result()
        assert isinstance(made_nic.id, str)
        return made_nic.id

    def vm_body(self, nic_id: str, **changes: object) -> dict[str, Any]:
        """A VM from the marketplace; `changes` replace single properties, None removes one."""
        properties: dict[str, Any] = {
            "hardwareProfile": {"vmSize": "Standard_D4s_v5"},
            "storageProfile": {
                "imageReference": dict(IMAGE_2022),
                "osDisk": {"name": f"{nic_id.rsplit('/', 1)[-1]}-os", "createOption": "FromImage", "diskSizeGB": 35},
            },
            "osProfile": {"computerName": "build", "adminUsername": "builder", "adminPassword": PASSWORD},
            "networkProfile": {"networkInterfaces": [{"id": nic_id}]},
        }
        properties |= changes
        return {"location": REGION, "properties": {name: value for name, value in properties.items() if value is not None}}

    def vm(self, name: str = "vm", **changes: object) -> Any:
        """A running VM."""
        body = self.vm_body(self.nic(f"{name}-nic"), **changes)
        return self.stand_in.compute.virtual_machines.begin_create_or_update(self.group, name, body).result()

    def disk_id(self, vm: Any) -> str:
        """Id of a VM's OS disk."""
        disk_id = vm.storage_profile.os_disk.managed_disk.id
        assert isinstance(disk_id, str)
        return disk_id


@pytest.fixture
def workshop(stand_in: StandIn, group: str) -> Workshop:
    return Workshop(stand_in, group)
