"""Filling a disk's folder from another disk, grown when asked; which disks may be copied."""

from __future__ import annotations

from infra.local.arm.cloud import Cloud
from infra.local.arm.errors import invalid, not_allowed
from infra.local.arm.kinds import SNAPSHOT, VM
from infra.local.state import Resource


def copy_content(cloud: Cloud, source: Resource, target_id: str, size_gib: int) -> None:
    """Give the disk folder `target_id` the content of a disk or snapshot, with room behind it when `size_gib` is larger."""
    source_id = source.properties["uniqueId"]
    # An empty disk has no folder, and so has its copy.
    if cloud.disks.exists(source_id):
        cloud.disks.copy(source_id, target_id, size_gib)


def checked_size_gib(asked: object, source_gib: int) -> int:
    """The size asked for, or the source's; raises ArmError when it is no size or smaller than the source."""
    if asked is None:
        return source_gib
    if not isinstance(asked, int) or not 1 <= asked <= 32767:
        raise invalid(f"Disk size {asked!r} is not between 1 and 32767 GiB.", "diskSizeGB")
    if asked < source_gib:
        raise invalid(f"The specified disk size {asked} GB is smaller than the size of its source: {source_gib} GB.", "diskSizeGB")
    return asked


def source_in_region(cloud: Cloud, source_id: str, location: str, kinds: tuple[str, ...]) -> Resource:
    """The disk, snapshot or VM to copy from; raises ArmError when it is missing, of another type, in another region, or not whole."""
    source = cloud.store.get(source_id)
    if source is None or source.type not in kinds:
        raise invalid(f"Source resource {source_id} was not found.", "sourceResourceId")
    if source.location != location:
        what = "snapshot" if source.type == SNAPSHOT else "virtual machine" if source.type == VM else "disk"
        raise invalid(f"The source {what} {source_id} is in region {source.location}, not in {location}.", "sourceResourceId")
    state = source.properties["provisioningState"]
    if source.type != VM and state in ("Creating", "Deleting", "Failed"):
        raise not_allowed(f"The source {source_id} is in state {state}; only what was made completely can be copied.")
    return source
