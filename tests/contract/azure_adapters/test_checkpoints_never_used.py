"""Checkpoints that are not right: never used, replaced when nobody else can want them, left alone when a person has to look."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from azure.mgmt.compute.models import Disk, Snapshot

from images.errors import CloudError, ConfigurationError
from images.retention import Condition
from infra.azure.checkpoints import (
    PUBLIC,
    Checkpoint,
    checkpoint_group,
    delete_checkpoint,
    find_checkpoint,
    list_checkpoints,
    restore_disk,
)
from infra.azure.resource_group import begin_delete_group
from infra.azure.session import open_cloud
from tests.contract.azure_adapters.checkpoint_site import Site, new_fingerprint, stopped_site
from tests.contract.azure_adapters.conftest import StandIn

FAILING = {"code": "InternalExecutionError", "status": 500}


@pytest.fixture(scope="module")
def site(stand_in: StandIn) -> Iterator[Site]:
    with stopped_site(stand_in.profile) as made:
        yield made


@pytest.fixture(autouse=True)
def _calm(stand_in: StandIn) -> Iterator[None]:
    yield
    stand_in.strike()


def test_nothing_is_found_and_nothing_is_listed_before_the_first_one(stand_in: StandIn) -> None:
    profile = stand_in.profile.model_copy(update={"resource_group_prefix": f"new{uuid.uuid4().hex[:6]}"})
    with open_cloud(profile) as cloud:
        assert find_checkpoint(cloud, "os", new_fingerprint(), PUBLIC) is None
        assert list_checkpoints(cloud, PUBLIC) == []
        assert list_checkpoints(cloud) == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"fingerprint": "f" * 64}, "its tags are those of"),
        ({"scope": "private-7"}, "in ck"),
        ({"scope": "everybody"}, "is not a scope"),
        ({"layer": "runtime"}, "its tags are those of ckpt-runtime-"),
        ({"created_by": None}, "was not made by winvhd"),
        ({"expires_at": "2001-01-01T00:00:00Z"}, "expired at 2001-01-01T00:00:00Z"),
        ({"expires_at": "soon"}, "its expiry can not be read"),
    ],
)
def test_tags_that_are_not_right_are_never_trusted(site: Site, changes: dict[str, str | None], reason: str) -> None:
    saved = site.save(new_fingerprint())
    site.tag(saved, **changes)
    found, said = site.find(saved.fingerprint)
    assert found is None
    assert reason in said
    (listed,) = [state for state in list_checkpoints(site.cloud, PUBLIC) if state.name == saved.name]
    assert (isinstance(listed, Checkpoint), reason in listed.reason) == (False, True)


def test_another_fingerprint_with_the_same_beginning_is_never_used_nor_replaced(site: Site) -> None:
    saved = site.save(new_fingerprint())
    twin = saved.fingerprint[:24] + "0" * 40
    found, said = site.find(twin)
    assert (found, f"its whole fingerprint is {saved.fingerprint}" in said) == (None, True)
    with pytest.raises(ConfigurationError, match="can not be replaced"):
        site.save(twin)
    assert site.find(saved.fingerprint)[0] == saved


def test_a_snapshot_of_another_region_is_never_used(site: Site) -> None:
    fingerprint, location = new_fingerprint(), "eastus"
    kept = site.save(new_fingerprint())
    properties = {"creationData": {"createOption": "Empty"}, "diskSizeGB": 4}
    far = site.cloud.compute.disks.begin_create_or_update(
        site.vm.resource_group, "far", Disk({"location": location, "properties": properties})
    ).result()
    copy = {"creationData": {"createOption": "Copy", "sourceResourceId": far.id}, "incremental": True}
    tags = site.cloud.compute.snapshots.get(kept.resource_group, kept.name).tags
    body = Snapshot({"location": location, "tags": {**(tags or {}), "fingerprint": fingerprint}, "properties": copy})
    name = f"ckpt-os-{site.cloud.profile.location}-{fingerprint[:24]}"
    site.cloud.compute.snapshots.begin_create_or_update(kept.resource_group, name, body).result()
    found, said = site.find(fingerprint)
    assert (found, "is in region eastus" in said) == (None, True)


def test_a_refusal_that_is_no_race_is_told_at_once(site: Site, stand_in: StandIn) -> None:
    fingerprint = new_fingerprint()
    forbidden = {"code": "AuthorizationFailed", "status": 403}
    stand_in.strike({"point": "arm.request", "key": f"PUT *{fingerprint[:24]}", "times": 1, "fault": forbidden})
    with pytest.raises(CloudError) as caught:
        site.save(fingerprint)
    assert (caught.value.code, site.find(fingerprint)) == ("AuthorizationFailed", (None, ""))


def test_a_snapshot_that_fails_once_is_made_again(site: Site, stand_in: StandIn) -> None:
    fingerprint = new_fingerprint()
    stand_in.strike({"point": "arm.operation", "key": "snapshot.create *", "times": 1, "fault": FAILING})
    said: list[str] = []
    saved = site.save(fingerprint, on_event=said.append)
    assert any("is replaced: its state is Failed" in line for line in said)
    assert site.find(fingerprint) == (saved, "")


def test_a_snapshot_that_keeps_failing_leaves_nothing(site: Site, stand_in: StandIn) -> None:
    fingerprint = new_fingerprint()
    stand_in.strike({"point": "arm.operation", "key": "snapshot.create *", "times": None, "fault": FAILING})
    with pytest.raises(CloudError) as caught:
        site.save(fingerprint)
    assert caught.value.code == "InternalExecutionError"
    assert site.find(fingerprint) == (None, "")
    assert all(state.fingerprint != fingerprint for state in list_checkpoints(site.cloud))


def test_a_failed_snapshot_that_could_not_be_removed_is_never_used_and_listed(site: Site, stand_in: StandIn) -> None:
    fingerprint = new_fingerprint()
    locked = {"code": "ScopeLocked", "status": 409}
    stand_in.strike(
        {"point": "arm.operation", "key": "snapshot.create *", "times": None, "fault": FAILING},
        {"point": "arm.request", "key": "DELETE *snapshots*", "times": None, "fault": locked},
    )
    with pytest.raises(CloudError):
        site.save(fingerprint)
    stand_in.strike()
    found, said = site.find(fingerprint)
    assert (found, "its state is Failed" in said) == (None, True)
    (listed,) = [state for state in list_checkpoints(site.cloud) if state.fingerprint == fingerprint]
    assert (listed.condition, listed.reason) == (Condition.BROKEN, "its state is Failed")
    assert site.save(fingerprint) == site.find(fingerprint)[0]


def test_an_expired_one_is_replaced(site: Site) -> None:
    fingerprint = new_fingerprint()
    old = site.save(fingerprint)
    site.tag(old, expires_at="2001-01-01T00:00:00Z")
    new = site.save(fingerprint, build_id="newer")
    assert (new.build_id, new.name) == ("newer", old.name)
    assert old.created_at is not None
    assert new.created_at is not None
    assert new.created_at > old.created_at


def test_a_group_of_somebody_else_is_not_used(site: Site, stand_in: StandIn) -> None:
    profile = stand_in.profile.model_copy(update={"resource_group_prefix": f"taken{uuid.uuid4().hex[:6]}"})
    with open_cloud(profile) as cloud:
        name = checkpoint_group(profile.resource_group_prefix, PUBLIC)
        cloud.resources.resource_groups.create_or_update(name, {"location": profile.location, "tags": {"owner": "finance"}})
        with pytest.raises(ConfigurationError, match="belongs to somebody else"):
            replace(site, cloud=cloud).save(new_fingerprint())
        begin_delete_group(cloud, name, wait=True)


@pytest.mark.parametrize("spoil", ["delete", "expire"])
def test_a_checkpoint_that_went_meanwhile_is_not_restored(site: Site, spoil: str) -> None:
    saved = site.save(new_fingerprint())
    actions: dict[str, Callable[[], None]] = {
        "delete": lambda: delete_checkpoint(site.cloud, saved),
        "expire": lambda: site.tag(saved, expires_at="2001-01-01T00:00:00Z"),
    }
    actions[spoil]()
    with pytest.raises(CloudError) as caught:
        restore_disk(site.cloud, saved, site.vm.resource_group, f"{spoil}-os", site.tags)
    assert caught.value.code == "CheckpointGone"
