"""VM sizes: what may be chosen, and what is left of the quota."""

from __future__ import annotations

import re

from infra.local.arm.cloud import REGIONS, Cloud
from infra.local.arm.errors import invalid, not_implemented
from infra.local.arm.exchange import Answer, Call, Route
from infra.local.arm.kinds import VM
from infra.local.state import Json

CORE_QUOTA = 100


class Sizes:
    """Microsoft.Compute/skus and /locations/{location}/usages."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def routes(self) -> list[Route]:
        """The two lists."""
        compute = "/subscriptions/{subscription}/providers/Microsoft.Compute"
        return [
            Route("GET", f"{compute}/skus", self._skus),
            Route("GET", f"{compute}/locations/{{location}}/usages", self._usages),
        ]

    def _skus(self, call: Call) -> Answer:
        text = call.query.get("$filter", "")
        chosen = re.fullmatch(r"location eq '([^']+)'", text) if text else None
        if text and chosen is None:
            raise not_implemented("GET", f"skus with $filter={text}")
        regions = [chosen[1].lower()] if chosen else list(REGIONS)
        return Answer(200, {"value": [self._sku(size, name) for name in regions for size in self._cloud.vm_sizes]})

    def _sku(self, size: str, location: str) -> Json:
        capabilities = {"vCPUs": str(cores(size)), "HyperVGenerations": "V1,V2", "PremiumIO": "True", "CpuArchitectureType": "x64"}
        return {
            "resourceType": "virtualMachines",
            "name": size,
            "tier": "Standard",
            "size": size.removeprefix("Standard_"),
            "family": family(size),
            "locations": [location],
            "locationInfo": [{"location": location, "zones": ["1", "2", "3"], "zoneDetails": []}],
            "capabilities": [{"name": name, "value": value} for name, value in capabilities.items()],
            "restrictions": [],
        }

    def _usages(self, call: Call) -> Answer:
        location = call.parameters["location"].lower()
        used: dict[str, int] = {family(size): 0 for size in self._cloud.vm_sizes}
        for vm in self._cloud.store.find(kind=VM):
            if vm.location == location and not vm.internal.get("deallocated"):
                size = vm.properties["hardwareProfile"]["vmSize"]
                used[family(size)] += cores(size)
        names = {"cores": sum(used.values()), **used}
        value = [
            {"unit": "Count", "currentValue": count, "limit": CORE_QUOTA, "name": {"value": name, "localizedValue": name}}
            for name, count in names.items()
        ]
        return Answer(200, {"value": value})


def checked_size(cloud: Cloud, size: object) -> str:
    """The size, spelled as in the list; raises ArmError 400 for any other."""
    for known in cloud.vm_sizes:
        if known.lower() == str(size).lower():
            return known
    raise invalid(
        f"The value {size} provided for the VM size is not valid. The valid sizes in the current region are: {', '.join(cloud.vm_sizes)}.",
        "vmSize",
    )


def cores(size: str) -> int:
    """vCPUs, which the size's name holds (Standard_D8s_v3: 8)."""
    found = re.search(r"_[A-Za-z]+(\d+)", size)
    return int(found[1]) if found else 1


def family(size: str) -> str:
    """Quota family, for example standardDSv3Family for Standard_D8s_v3 (learn.microsoft.com, "VM size naming conventions")."""
    found = re.fullmatch(r"Standard_([A-Z]+)\d+([a-z]*)(?:_(v\d+))?", size)
    if found is None:
        return size
    return f"standard{found[1]}{found[2].upper()}{found[3] or ''}Family"
