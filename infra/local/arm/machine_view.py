"""The instance view of a VM: power state, agent, generalized or not."""

from __future__ import annotations

from infra.local.arm.cloud import Cloud, now
from infra.local.state import Json, Resource

ON_THE_WAY = {
    "vm.create": ("creating", "VM is being created"),
    "vm.start": ("starting", "VM starting"),
    "vm.powerOff": ("stopping", "VM stopping"),
    "vm.deallocate": ("deallocating", "VM deallocating"),
}


def power_state(cloud: Cloud, vm: Resource) -> str:
    """running, stopped, deallocated, or the way there (starting, stopping, deallocating, creating)."""
    under_way = cloud.operations.busy_with(vm.id)
    if under_way in ON_THE_WAY:
        return ON_THE_WAY[under_way][0]
    if vm.internal.get("deallocated"):
        return "deallocated"
    return cloud.guests.power_state(vm.id.lower())


def instance_view(cloud: Cloud, vm: Resource) -> Json:
    """The document; codes as in learn.microsoft.com, "States and billing status of Azure Virtual Machines"."""
    provisioning = vm.properties["provisioningState"]
    power = power_state(cloud, vm)
    display = next((text for state, text in ON_THE_WAY.values() if state == power), f"VM {power}")
    statuses: list[Json] = [
        {
            "code": f"ProvisioningState/{provisioning.lower()}",
            "level": "Info",
            "displayStatus": f"Provisioning {provisioning.lower()}",
            "time": now(),
        }
    ]
    if vm.internal.get("generalized"):
        statuses.append({"code": "OSState/generalized", "level": "Info", "displayStatus": "VM generalized"})
    if power != "creating":
        statuses.append({"code": f"PowerState/{power}", "level": "Info", "displayStatus": display})
    view: Json = {
        "computerName": vm.properties.get("osProfile", {}).get("computerName", vm.name),
        "osName": "Windows Server Datacenter",
        "hyperVGeneration": cloud.require(vm.properties["storageProfile"]["osDisk"]["managedDisk"]["id"]).properties.get(
            "hyperVGeneration", "V1"
        )
        if vm.internal.get("made")
        else "V1",
        "disks": [{"name": vm.properties["storageProfile"]["osDisk"]["name"], "statuses": [statuses[0]]}],
        "statuses": statuses,
    }
    if power == "running":
        ready = cloud.guests.agent_ready(vm.id.lower())
        code, text = ("ProvisioningState/succeeded", "Ready") if ready else ("ProvisioningState/Unavailable", "Not Ready")
        view["vmAgent"] = {
            "vmAgentVersion": "2.7.41491.1",
            "statuses": [{"code": code, "level": "Info", "displayStatus": text, "time": now()}],
        }
    return view
