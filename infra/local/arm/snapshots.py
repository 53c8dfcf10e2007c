"""Snapshots of managed disks."""

from __future__ import annotations

import uuid

from infra.local.arm.access import Access
from infra.local.arm.cloud import Cloud, new_guid, now
from infra.local.arm.disk_content import checked_size_gib, copy_content, source_in_region
from infra.local.arm.disks import inherit, never_made, refuse_other_source
from infra.local.arm.errors import not_implemented
from infra.local.arm.exchange import COMPUTE, Answer, Call, Route
from infra.local.arm.kinds import DISK, SNAPSHOT
from infra.local.arm.network import plain_routes
from infra.local.arm.removal import Removal
from infra.local.state import Resource

BASE = f"{COMPUTE}/snapshots"


class Snapshots:
    """Microsoft.Compute/snapshots: copies of a disk or of a snapshot in the same region."""

    def __init__(self, cloud: Cloud, removal: Removal, access: Access) -> None:
        self._cloud = cloud
        self._removal = removal
        self._access = access

    def routes(self) -> list[Route]:
        """PUT, shared access, and the rest."""
        return [
            Route("PUT", f"{BASE}/{{name}}", self._put),
            *self._access.routes(f"{BASE}/{{name}}"),
            *plain_routes(self._cloud, self._removal, BASE, SNAPSHOT, "snapshot.delete"),
        ]

    def _put(self, call: Call) -> Answer:
        snapshot, existing = self._cloud.draft(call, SNAPSHOT)
        creation = snapshot.properties.get("creationData") or {}
        if existing is not None:
            refuse_other_source(creation, existing)
            if not never_made(self._cloud, existing):
                existing.document["tags"] = snapshot.document["tags"]
                return self._cloud.begin_put(call, "snapshot.create", existing, self._cloud.store.put, created=False)
        if creation.get("createOption") != "Copy":
            raise not_implemented("PUT", f"snapshots with createOption {creation.get('createOption')!r}")
        source = source_in_region(self._cloud, creation.get("sourceResourceId", ""), snapshot.location, (DISK, SNAPSHOT))
        size_gib = checked_size_gib(snapshot.properties.get("diskSizeGB"), source.properties["diskSizeGB"])
        inherit(snapshot, source, size_gib)
        snapshot.properties.update({"uniqueId": new_guid(), "timeCreated": now(), "diskState": "Unattached", "completionPercent": 100.0})
        if snapshot.properties.setdefault("incremental", False):
            snapshot.properties["incrementalSnapshotFamilyId"] = family_of(source)
        return self._cloud.begin_put(
            call,
            "snapshot.create",
            snapshot,
            lambda made: copy_content(self._cloud, source, made.properties["uniqueId"], size_gib),
            created=True,
        )


def family_of(source: Resource) -> str:
    """The id that all incremental snapshots of one disk share (SnapshotProperties.incrementalSnapshotFamilyId)."""
    if source.type == SNAPSHOT:
        return str(source.properties.get("incrementalSnapshotFamilyId") or new_guid())
    return str(uuid.uuid5(uuid.NAMESPACE_OID, source.properties["uniqueId"]))
