"""What a snapshot's document says about its worth as a checkpoint."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from azure.mgmt.compute.models import Snapshot

from images.errors import CloudError, ConfigurationError
from images.retention import Condition
from infra.azure.checkpoint_name import checkpoint_group, checkpoint_name, checkpoint_tags, is_checkpoint_group
from infra.azure.checkpoint_state import Checkpoint, read_state
from infra.azure.profile import CloudProfile, StorageAccess

NOW = datetime(2026, 8, 12, 12, tzinfo=UTC)
FINGERPRINT = "0123456789abcdef" * 4
PROFILE = CloudProfile(
    name="azure",
    source_address="127.0.0.1",
    subscription_id="00000000-0000-0000-0000-000000000001",
    location="westus3",
    vm_sizes=("Standard_D4s_v5",),
    storage=StorageAccess(account="a", endpoint="https://a.blob.core.windows.net"),
)


def document(tags: dict[str, str | None] | None = None, **properties: Any) -> Snapshot:
    """A good checkpoint's snapshot, with other tags (None: without) and properties."""
    right: dict[str, str | None] = dict(
        checkpoint_tags(
            layer="os",
            fingerprint=FINGERPRINT,
            scope="public",
            image="small",
            lock_digest="1" * 64,
            build_id="small-1",
            expires_at=datetime(2026, 9, 1, tzinfo=UTC),
        )
    )
    name = f"ckpt-os-westus3-{FINGERPRINT[:24]}"
    return Snapshot(
        {
            "id": f"/subscriptions/s/resourceGroups/WINVHD-checkpoints/providers/Microsoft.Compute/snapshots/{name}",
            "name": name,
            "location": "westus3",
            "tags": {key: value for key, value in (right | (tags or {})).items() if value is not None},
            "properties": {
                "timeCreated": "2026-08-11T12:00:00Z",
                "provisioningState": "Succeeded",
                "creationData": {"createOption": "Copy", "sourceUniqueId": "disk-1"},
                "diskSizeGB": 50,
                "hyperVGeneration": "V2",
            }
            | properties,
        }
    )


def test_a_good_one_is_read_whole() -> None:
    found = read_state(document(), PROFILE, NOW)
    assert isinstance(found, Checkpoint)
    assert (found.layer, found.fingerprint, found.scope, found.image, found.build_id) == ("os", FINGERPRINT, "public", "small", "small-1")
    assert (found.lock_digest, found.source_unique_id, found.size_gib) == ("1" * 64, "disk-1", 50)
    assert (found.created_at, found.expires_at) == (datetime(2026, 8, 11, 12, tzinfo=UTC), datetime(2026, 9, 1, tzinfo=UTC))
    assert (found.generation, found.reason) == ("V2", "")


@pytest.mark.parametrize(
    ("properties", "condition", "reason"),
    [
        ({"provisioningState": "Failed"}, Condition.BROKEN, "its state is Failed"),
        ({"provisioningState": "Deleting"}, Condition.BUSY, "its state is Deleting"),
        ({"provisioningState": "Creating"}, Condition.BUSY, "its state is Creating"),
        ({"provisioningState": None}, Condition.BROKEN, "its state is unknown"),
        ({"completionPercent": 41.7}, Condition.BUSY, "its copy is at 42 %"),
        ({"completionPercent": 100.0}, Condition.USABLE, ""),
        (
            {"completionPercent": 41.7, "copyCompletionError": {"errorCode": "CopySourceNotFound", "errorMessage": "gone"}},
            Condition.BROKEN,
            "its copy failed: CopySourceNotFound",
        ),
        ({"timeCreated": None}, Condition.BROKEN, "Azure does not say when it was made"),
    ],
)
def test_states_of_the_snapshot(properties: dict[str, Any], condition: Condition, reason: str) -> None:
    state = read_state(document(**properties), PROFILE, NOW)
    assert (state.condition, state.reason) == (condition, reason)
    assert isinstance(state, Checkpoint) == (condition is Condition.USABLE)


def test_one_of_another_fingerprint_with_the_same_beginning_is_strange() -> None:
    assert isinstance(read_state(document(), PROFILE, NOW, wanted=FINGERPRINT), Checkpoint)
    state = read_state(document(provisioningState="Creating"), PROFILE, NOW, wanted=FINGERPRINT[:24] + "0" * 40)
    assert (state.condition, state.reason) == (Condition.STRANGE, f"its whole fingerprint is {FINGERPRINT}")


def test_it_ends_at_its_expiry_to_the_second() -> None:
    tags: dict[str, str | None] = {"expires_at": "2026-08-12T12:00:00Z"}
    assert read_state(document(tags), PROFILE, NOW).reason == "it expired at 2026-08-12T12:00:00Z"
    assert isinstance(read_state(document(tags), PROFILE, datetime(2026, 8, 12, 11, 59, 59, tzinfo=UTC)), Checkpoint)
    assert isinstance(read_state(document({"expires_at": None}), PROFILE, NOW), Checkpoint)


def test_a_document_without_properties_is_an_error() -> None:
    with pytest.raises(CloudError):
        read_state(Snapshot({"name": "x", "location": "westus3"}), PROFILE, NOW)


@pytest.mark.parametrize(("layer", "fingerprint"), [("OS", FINGERPRINT), ("", FINGERPRINT), ("os", FINGERPRINT[:63]), ("os", "G" * 64)])
def test_names_are_made_of_layers_and_fingerprints_only(layer: str, fingerprint: str) -> None:
    with pytest.raises(ConfigurationError):
        checkpoint_name(layer, "westus3", fingerprint)


def test_groups_of_scopes_are_told_from_groups_of_builds() -> None:
    assert checkpoint_group("winvhd", "public") == "winvhd-checkpoints"
    assert checkpoint_group("winvhd", "private-7") == "winvhd-checkpoints-private-7"
    assert is_checkpoint_group("winvhd", "WINVHD-CHECKPOINTS")
    assert is_checkpoint_group("winvhd", "winvhd-checkpoints-private-7")
    assert not is_checkpoint_group("winvhd", "winvhd-checkpoints-of-somebody")
    assert not is_checkpoint_group("winvhd", "winvhd-small-1")
