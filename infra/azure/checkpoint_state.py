"""What a snapshot is worth as a checkpoint: read off its document, with the reason when it must not be used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from images.errors import BuildError, CloudError
from images.retention import Condition
from infra.azure.checkpoint_name import FINGERPRINT, IMAGE, LAYER, LOCK_DIGEST, checkpoint_group, checkpoint_name
from infra.azure.profile import CloudProfile
from infra.azure.tags import BUILD_ID, SCOPE, expiry, format_time, is_ours

if TYPE_CHECKING:
    from azure.mgmt.compute.models import Snapshot, SnapshotProperties

_COMPLETE = 100


@dataclass(frozen=True)
class CheckpointState:
    """A snapshot in a checkpoint group as it was found, usable or not; fields that its tags do not tell are empty."""

    name: str
    resource_group: str
    snapshot_id: str
    layer: str
    fingerprint: str
    scope: str
    image: str
    """The image whose build made it; images with the same prefix share it."""
    lock_digest: str
    build_id: str
    created_at: datetime | None
    expires_at: datetime | None
    source_unique_id: str
    """The id that Azure gave the disk it was made from; "" when Azure does not say."""
    size_gib: int
    generation: str
    provisioning_state: str
    condition: Condition
    reason: str
    """Why it is not usable; "" when it is."""


@dataclass(frozen=True)
class Checkpoint(CheckpointState):
    """A snapshot of an OS disk after a layer, good when it was looked up: only `read_state` makes one, and only of what is usable."""


def read_state(snapshot: Snapshot, profile: CloudProfile, now: datetime, *, wanted: str | None = None) -> CheckpointState:
    """The state of a snapshot, a Checkpoint when it is usable; with `wanted` only for that whole fingerprint.

    Raises CloudError when Azure describes the snapshot without name, id or properties.
    """
    properties, tags = snapshot.properties, snapshot.tags or {}
    if not (snapshot.id and snapshot.name and properties):
        raise CloudError("Azure describes a snapshot without its name or properties", code="NoProperties", hint="look it up again")
    group = resource_group_of(snapshot.id)
    condition, reason = _judge(snapshot.name, group, snapshot.location, properties, tags, profile=profile, now=now, wanted=wanted)
    expires_at = expiry(tags)
    kind = Checkpoint if condition is Condition.USABLE else CheckpointState
    return kind(
        name=snapshot.name,
        resource_group=group,
        snapshot_id=snapshot.id,
        layer=tags.get(LAYER, ""),
        fingerprint=tags.get(FINGERPRINT, ""),
        scope=tags.get(SCOPE, ""),
        image=tags.get(IMAGE, ""),
        lock_digest=tags.get(LOCK_DIGEST, ""),
        build_id=tags.get(BUILD_ID, ""),
        created_at=properties.time_created,
        expires_at=expires_at if isinstance(expires_at, datetime) else None,
        source_unique_id=properties.creation_data.source_unique_id or "",
        size_gib=properties.disk_size_gb or 0,
        generation=_text(properties.hyper_v_generation),
        provisioning_state=properties.provisioning_state or "",
        condition=condition,
        reason=reason,
    )


def _judge(
    name: str,
    group: str,
    location: str,
    properties: SnapshotProperties,
    tags: Mapping[str, str],
    *,
    profile: CloudProfile,
    now: datetime,
    wanted: str | None,
) -> tuple[Condition, str]:
    if reason := _strangeness(name, group, location, tags, profile):
        return Condition.STRANGE, reason
    if wanted not in {None, tags.get(FINGERPRINT)}:
        # The name holds only its beginning.
        return Condition.STRANGE, f"its whole fingerprint is {tags.get(FINGERPRINT)}"
    if reason := _work_in_progress(properties):
        return Condition.BUSY, reason
    if reason := _damage(properties, expiry(tags), now):
        return Condition.BROKEN, reason
    return Condition.USABLE, ""


def _work_in_progress(properties: SnapshotProperties) -> str:
    if properties.provisioning_state in {"Creating", "Updating", "Deleting"}:
        return f"its state is {properties.provisioning_state}"
    # Azure copies in the background only for CopyStart (from another region) and from Premium SSD v2 and Ultra disks. What is made by Copy
    # from any other disk can be used at once; then the figure is missing or 100.
    # https://learn.microsoft.com/azure/virtual-machines/disks-incremental-snapshots
    percent = properties.completion_percent
    if percent is not None and percent < _COMPLETE and properties.copy_completion_error is None:
        return f"its copy is at {percent:.0f} %"
    return ""


def _damage(properties: SnapshotProperties, expires_at: datetime | Literal["unreadable"] | None, now: datetime) -> str:
    if properties.provisioning_state != "Succeeded":
        return f"its state is {properties.provisioning_state or 'unknown'}"
    if properties.copy_completion_error is not None:
        return f"its copy failed: {_text(properties.copy_completion_error.error_code)}"
    if properties.time_created is None:
        return "Azure does not say when it was made"
    if isinstance(expires_at, datetime) and expires_at <= now:
        return f"it expired at {format_time(expires_at)}"
    return ""


def _strangeness(name: str, group: str, location: str, tags: Mapping[str, str], profile: CloudProfile) -> str:
    if not is_ours(tags):
        return "it was not made by winvhd"
    if location != profile.location:
        return f"it is in region {location}, and disks are made from it only there"
    if expiry(tags) == "unreadable":
        return "its expiry can not be read"
    try:
        right_name = checkpoint_name(tags.get(LAYER, ""), location, tags.get(FINGERPRINT, ""))
        right_group = checkpoint_group(profile.resource_group_prefix, tags.get(SCOPE, ""))
    except BuildError as error:
        return f"its tags are wrong: {error.what}"
    if (name, group.lower()) != (right_name, right_group.lower()):
        return f"its tags are those of {right_name} in {right_group}"
    return ""


def resource_group_of(resource_id: str) -> str:
    """The resource group in an ARM id, as the id spells it."""
    return resource_id.split("/")[4]


def _text(value: object) -> str:
    """An SDK's enumeration or plain text as text; "" for None."""
    return str(getattr(value, "value", value) or "")
