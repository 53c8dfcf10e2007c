"""Shared access to disks and snapshots: beginGetAccess exports the disk as a page blob and gives a read SAS, endGetAccess takes it back."""

from __future__ import annotations

import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from infra.local.arm.cloud import Cloud, new_guid
from infra.local.arm.errors import invalid, not_allowed, not_implemented
from infra.local.arm.exchange import Answer, Call, Route
from infra.local.arm.kinds import DISK
from infra.local.state import Json, Resource


def access_until(resource: Resource) -> datetime | None:
    """When the access given ends, or None when there is none (any more)."""
    granted = resource.internal.get("access")
    if granted is None:
        return None
    until = datetime.fromisoformat(granted["until"])
    return until if until > datetime.now(UTC) else None


def end_access(cloud: Cloud, resource: Resource) -> None:
    """Delete the exported blob, if there is one, and forget the access."""
    granted = resource.internal.pop("access", None)
    if granted is not None:
        cloud.blobs.remove_export(granted["blob"])
        cloud.store.put(resource)


class Access:
    """The two actions, for disks and for snapshots."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def routes(self, template: str) -> list[Route]:
        """The actions below one type's template."""
        return [
            Route("POST", template, self._begin, action="beginGetAccess"),
            Route("POST", template, self._end, action="endGetAccess"),
        ]

    def _begin(self, call: Call) -> Answer:
        resource = self._cloud.require(call.resource_id)
        if call.body.get("access") != "Read":
            raise not_implemented("POST", f"beginGetAccess with access {call.body.get('access')!r}; only Read")
        duration_s = call.body.get("durationInSeconds")
        if not isinstance(duration_s, int) or duration_s <= 0:
            raise invalid("Required parameter 'durationInSeconds' is missing or not positive.", "durationInSeconds")
        if resource.type == DISK:
            self._refuse_in_use(resource)
        if not self._cloud.disks.exists(resource.properties["uniqueId"]):
            raise not_implemented("POST", f"beginGetAccess of the empty disk {resource.name}")

        def work() -> Json | None:
            begun = time.monotonic()
            end_access(self._cloud, resource)
            blob = f"{new_guid()}/abcd"
            with tempfile.TemporaryDirectory(dir=self._cloud.scratch) as folder:
                vhd = Path(folder) / "disk.vhd"
                self._cloud.disks.export_vhd(resource.properties["uniqueId"], vhd)
                # What it takes longer than the operation is to take counts as a part of the copy that comes next.
                usual_s = self._cloud.latency.seconds("disk.beginGetAccess")
                self._cloud.blobs.export(vhd, blob, seconds=time.monotonic() - begun - usual_s)
            until = datetime.now(UTC) + timedelta(seconds=duration_s)
            resource.internal["access"] = {"blob": blob, "until": until.isoformat()}
            self._cloud.store.put(resource)
            return {"accessSAS": self._cloud.blobs.read_sas(blob, duration_s)}

        return self._cloud.begin(call, "disk.beginGetAccess", resource.id, work)

    def _end(self, call: Call) -> Answer:
        resource = self._cloud.require(call.resource_id)

        def work() -> None:
            end_access(self._cloud, resource)

        return self._cloud.begin(call, "disk.endGetAccess", resource.id, work)

    def _refuse_in_use(self, disk: Resource) -> None:
        vm = self._cloud.store.get(disk.document.get("managedBy", ""))
        if vm is not None and not vm.internal.get("deallocated"):
            raise not_allowed(f"Disk {disk.name} is attached to VM {vm.name}, which is not deallocated; access to it can not be granted.")
