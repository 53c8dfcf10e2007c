"""Checkpoints: a layer's OS disk as an incremental snapshot, found again by its fingerprint, saved once, restored as a disk.

The snapshot itself is the truth. It is looked up each time by a name that follows from layer, region and fingerprint: one GET, which is
strongly consistent where a list or a tag filter is not. Its tags hold the whole fingerprint and the scope, and are checked.

Of two writers one wins: what a snapshot was made from can not be changed afterwards (PropertyChangeNotAllowed, or BadRequest from older
versions of the provider: https://github.com/hashicorp/terraform-provider-azurerm/pull/1575,
https://github.com/MicrosoftDocs/azure-docs/issues/34967). Whatever Azure answers to the second one, it looks again and takes what is there.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

from images.errors import CloudError, ConfigurationError
from images.retention import Condition
from infra.azure.checkpoint_group import ensure_checkpoint_group
from infra.azure.checkpoint_name import PUBLIC, checkpoint_group, checkpoint_name, checkpoint_tags, is_checkpoint_group
from infra.azure.checkpoint_restore import restore_disk
from infra.azure.checkpoint_state import Checkpoint, CheckpointState, read_state, resource_group_of
from infra.azure.refusals import refusals
from infra.azure.session import Cloud
from infra.azure.vm_power import power_state
from infra.azure.vm_request import BuildVm

if TYPE_CHECKING:
    from azure.mgmt.compute.models import Snapshot

__all__ = [
    "PUBLIC",
    "Checkpoint",
    "CheckpointState",
    "checkpoint_group",
    "delete_checkpoint",
    "find_checkpoint",
    "list_checkpoints",
    "look_up",
    "restore_disk",
    "save_checkpoint",
]

OnEvent = Callable[[str], None]
SNAPSHOT_DEADLINE_S = 1800
_STOPPED = frozenset({"stopped", "deallocated"})
_SAVE_ATTEMPTS = 3
_WAITED_ENOUGH = frozenset({"OperationTimedOut", "SessionClosed"})


def find_checkpoint(
    cloud: Cloud, layer: str, fingerprint: str, scope: str, *, now: datetime | None = None, on_event: OnEvent = lambda _: None
) -> Checkpoint | None:
    """The checkpoint of a layer when it can be used at this moment, else None; `on_event` is told why one that exists is not used.

    Raises CloudError, and ConfigurationError for what is no layer, fingerprint or scope.
    """
    state = look_up(cloud, layer, fingerprint, scope, now=now)
    if state is None or isinstance(state, Checkpoint):
        return state
    on_event(f"checkpoint {state.name} is not used: {state.reason}")
    return None


def look_up(cloud: Cloud, layer: str, fingerprint: str, scope: str, *, now: datetime | None = None) -> CheckpointState | None:
    """What bears the name of a layer's checkpoint, usable or not; None when nothing does. Raises CloudError, ConfigurationError."""
    from azure.core.exceptions import ResourceNotFoundError

    group = checkpoint_group(cloud.profile.resource_group_prefix, scope)
    name = checkpoint_name(layer, cloud.profile.location, fingerprint)
    with refusals(f"look up checkpoint {name}"):
        try:
            snapshot = cloud.compute.snapshots.get(group, name)
        except ResourceNotFoundError:
            # Also while the group does not exist.
            return None
    return read_state(snapshot, cloud.profile, now or datetime.now(UTC), wanted=fingerprint)


@dataclass(frozen=True)
class _Wish:
    """A checkpoint to be made."""

    layer: str
    fingerprint: str
    scope: str
    group: str
    name: str
    tags: dict[str, str]


def save_checkpoint(
    cloud: Cloud,
    vm: BuildVm,
    *,
    layer: str,
    fingerprint: str,
    scope: str,
    image: str,
    lock_digest: str,
    build_id: str,
    expires_at: datetime | None,
    on_event: OnEvent = lambda _: None,
) -> Checkpoint:
    """The layer's checkpoint: made from the OS disk of a VM that is stopped, or the one that somebody else made before.

    May be repeated. A private scope needs expires_at. Raises ConfigurationError when the VM is not stopped, or something that is no
    checkpoint of ours has the name; CloudError for refusals, and then nothing half-made is left that would be used.
    """
    _must_be_stopped(cloud, vm)
    tags = checkpoint_tags(
        layer=layer, fingerprint=fingerprint, scope=scope, image=image, lock_digest=lock_digest, build_id=build_id, expires_at=expires_at
    )
    name = checkpoint_name(layer, cloud.profile.location, fingerprint)
    wish = _Wish(layer, fingerprint, scope, ensure_checkpoint_group(cloud, scope, expires_at), name, tags)
    refusal: CloudError | None = None
    for _ in range(_SAVE_ATTEMPTS):
        there = _clear_the_way(cloud, wish, on_event)
        if there is not None:
            return there
        try:
            made = _make(cloud, vm, wish)
        except CloudError as error:
            # Something there: another writer was first, or the snapshot failed; the next look says which.
            if error.code in _WAITED_ENOUGH or not _is_there(cloud, wish):
                raise
            refusal = error
            on_event(f"checkpoint {name} was refused: {error.code or error.what}")
            continue
        return _accept(cloud, vm, wish, made)
    # The last refusal may be the other writer's success, too.
    there = _clear_the_way(cloud, wish, on_event)
    if there is not None:
        return there
    if refusal is None:
        raise AssertionError("unreachable: each attempt returns, raises or is refused")
    raise refusal


def list_checkpoints(cloud: Cloud, scope: str | None = None, *, now: datetime | None = None) -> list[CheckpointState]:
    """Every snapshot in the checkpoint group of a scope, or of all scopes, newest first; the broken ones too, with the reason.

    Raises CloudError, and ConfigurationError for what is no scope.
    """
    from azure.core.exceptions import ResourceNotFoundError

    prefix, now = cloud.profile.resource_group_prefix, now or datetime.now(UTC)
    with refusals("list the checkpoints"):
        snapshots = cloud.compute.snapshots
        found = snapshots.list() if scope is None else snapshots.list_by_resource_group(checkpoint_group(prefix, scope))
        try:
            states = [
                read_state(snapshot, cloud.profile, now)
                for snapshot in found
                if snapshot.id and is_checkpoint_group(prefix, resource_group_of(snapshot.id))
            ]
        except ResourceNotFoundError:
            # No checkpoint of this scope was ever saved, or the reaper has taken its group.
            return []
    oldest = datetime.min.replace(tzinfo=UTC)
    return sorted(states, key=lambda state: (state.created_at or oldest, state.name), reverse=True)


def delete_checkpoint(cloud: Cloud, checkpoint: CheckpointState) -> None:
    """Delete a checkpoint; absent is fine. Disks that were made from it stay. Raises CloudError."""
    _delete(cloud, checkpoint.resource_group, checkpoint.name)


def _must_be_stopped(cloud: Cloud, vm: BuildVm) -> None:
    state = power_state(cloud, vm)
    if state not in _STOPPED:
        # Azure would make one all the same, of a file system in mid-write.
        raise ConfigurationError(
            f"VM {vm.name} is {state or 'in no known power state'}: a checkpoint is made only from a stopped one",
            hint="stop the VM first (power_off), so that Windows has written everything",
        )


def _clear_the_way(cloud: Cloud, wish: _Wish, on_event: OnEvent) -> Checkpoint | None:
    """The checkpoint when somebody has made it; else None, with nothing broken left under its name."""
    state = look_up(cloud, wish.layer, wish.fingerprint, wish.scope)
    if state is None:
        return None
    if isinstance(state, Checkpoint):
        on_event(f"checkpoint {state.name} is there already: build {state.build_id} made it")
        return state
    if state.condition is Condition.STRANGE:
        raise ConfigurationError(
            f"snapshot {state.name} in {state.resource_group} can not be replaced: {state.reason}",
            hint="look at it, and delete it when nobody needs it",
        )
    if state.condition is Condition.BROKEN or state.provisioning_state == "Deleting":
        on_event(f"checkpoint {state.name} is replaced: {state.reason}")
        _delete(cloud, state.resource_group, state.name)
    return None


def _is_there(cloud: Cloud, wish: _Wish) -> bool:
    # The refusal counts, not what this look meets.
    with suppress(CloudError):
        return look_up(cloud, wish.layer, wish.fingerprint, wish.scope) is not None
    return False


def _make(cloud: Cloud, vm: BuildVm, wish: _Wish) -> Snapshot:
    from azure.mgmt.compute.models import Snapshot

    with refusals(f"look up disk {vm.os_disk_name}"):
        disk = cloud.compute.disks.get(vm.resource_group, vm.os_disk_name)
    generation = disk.properties.hyper_v_generation if disk.properties else None
    if not generation:
        raise CloudError(f"Azure describes disk {vm.os_disk_name} without its generation", code="NoGeneration", hint="build again")
    properties = {
        "creationData": {"createOption": "Copy", "sourceResourceId": vm.os_disk_id},
        "incremental": True,
        "osType": "Windows",
        # Not taken over from the source: https://github.com/MicrosoftDocs/azure-docs/issues/62708
        "hyperVGeneration": str(getattr(generation, "value", generation)),
    }
    # No sku: incremental snapshots are zone-redundant where the region has that, else locally redundant.
    body = Snapshot({"location": cloud.profile.location, "tags": wish.tags, "properties": properties})
    return cloud.wait.finish(
        f"save checkpoint {wish.name}",
        lambda polling: cloud.compute.snapshots.begin_create_or_update(wish.group, wish.name, body, polling=polling),
        deadline_s=SNAPSHOT_DEADLINE_S,
    )


def _accept(cloud: Cloud, vm: BuildVm, wish: _Wish, made: Snapshot) -> Checkpoint:
    state = read_state(made, cloud.profile, datetime.now(UTC))
    if not isinstance(state, Checkpoint):
        raise CloudError(
            f"checkpoint {wish.name} was saved, but is not usable: {state.reason}", code="NotUsable", hint="run the build again"
        )
    power = power_state(cloud, vm)
    if power not in _STOPPED:
        # Somebody started the VM meanwhile, so nobody knows what is in the snapshot.
        _delete(cloud, wish.group, wish.name)
        raise CloudError(
            f"VM {vm.name} is {power} again while checkpoint {wish.name} was made; it was deleted",
            code="NotStopped",
            hint="does another worker use the same VM? Run the build again",
        )
    return state


def _delete(cloud: Cloud, group: str, name: str) -> None:
    try:
        cloud.wait.finish(
            f"delete checkpoint {name}",
            lambda polling: cloud.compute.snapshots.begin_delete(group, name, polling=polling),
            deadline_s=SNAPSHOT_DEADLINE_S,
        )
    except CloudError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
