"""From a checkpoint to an OS disk that a VM can attach."""

from __future__ import annotations

from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

from images.errors import CloudError
from infra.azure.checkpoint_state import Checkpoint, read_state
from infra.azure.refusals import refusals
from infra.azure.session import Cloud
from infra.azure.tags import BuildTags
from infra.azure.vm_request import ExistingDisk

if TYPE_CHECKING:
    from azure.mgmt.compute.models import Disk

DISK_DEADLINE_S = 1800
CHECKPOINT_GONE = "CheckpointGone"


def restore_disk(cloud: Cloud, checkpoint: Checkpoint, group: str, name: str, tags: BuildTags, zone: str | None = None) -> ExistingDisk:
    """A new Premium_LRS disk in `group` with the checkpoint's content, of its size and generation; zonal when a zone is named.

    The checkpoint is looked at once more, so that one that went meanwhile is not used: CloudError with code CheckpointGone, after which the
    caller builds the layer. A disk of the same name that no VM has is replaced: some VM may have written to it. Raises CloudError.
    """
    source = _usable(cloud, checkpoint)
    _remove_old(cloud, group, name)
    from azure.mgmt.compute.models import Disk

    properties = {
        "creationData": {"createOption": "Copy", "sourceResourceId": checkpoint.snapshot_id},
        "osType": "Windows",
        # Not taken over from the snapshot, and without it the disk is one of generation 1:
        # https://github.com/MicrosoftDocs/azure-docs/issues/62708
        "hyperVGeneration": source.generation,
    }
    body = {"location": cloud.profile.location, "tags": tags.to_azure(), "sku": {"name": "Premium_LRS"}, "properties": properties}
    disk = Disk(body | ({"zones": [zone]} if zone else {}))
    made = cloud.wait.finish(
        f"restore disk {name} from checkpoint {checkpoint.name}",
        lambda polling: cloud.compute.disks.begin_create_or_update(group, name, disk, polling=polling),
        deadline_s=DISK_DEADLINE_S,
    )
    if not made.id:
        raise CloudError(f"Azure describes disk {name} without its id", code="NoId", hint="run the build again")
    return ExistingDisk(made.id, zone)


def _usable(cloud: Cloud, checkpoint: Checkpoint) -> Checkpoint:
    from azure.core.exceptions import ResourceNotFoundError

    reason = "it does not exist any more"
    with refusals(f"look up checkpoint {checkpoint.name}"):
        try:
            snapshot = cloud.compute.snapshots.get(checkpoint.resource_group, checkpoint.name)
        except ResourceNotFoundError:
            snapshot = None
    if snapshot is not None:
        state = read_state(snapshot, cloud.profile, datetime.now(UTC))
        if isinstance(state, Checkpoint) and (state.fingerprint, state.scope) == (checkpoint.fingerprint, checkpoint.scope):
            return state
        reason = state.reason or "it is another one now"
    raise CloudError(
        f"checkpoint {checkpoint.name} can not be restored: {reason}",
        code=CHECKPOINT_GONE,
        hint="run the build again: the layer is then built anew",
    )


def _remove_old(cloud: Cloud, group: str, name: str) -> None:
    old = _find_disk(cloud, group, name)
    if old is None:
        return
    if old.managed_by:
        raise CloudError(f"disk {name} is in use by {old.managed_by}", code="DiskInUse", hint="delete the VM first, or choose another name")
    try:
        cloud.wait.finish(
            f"delete disk {name}",
            lambda polling: cloud.compute.disks.begin_delete(group, name, polling=polling),
            deadline_s=DISK_DEADLINE_S,
        )
    except CloudError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise


def _find_disk(cloud: Cloud, group: str, name: str) -> Disk | None:
    from azure.core.exceptions import ResourceNotFoundError

    with refusals(f"look up disk {name}"):
        try:
            return cloud.compute.disks.get(group, name)
        except ResourceNotFoundError:
            return None
