"""Checkpoints on a running cloud: what `winvhd checkpoints` and the reaper show, and what they delete."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.mgmt.compute.models import Disk, Snapshot
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.sorting import ArtifactSort
from typer.testing import CliRunner, Result

from flows.cli.checkpoints import age_text
from flows.cli.main import app
from flows.reap_resources import reap_resources
from images.errors import CloudError
from infra.azure.blob_storage import BUILDS_CONTAINER, ensure_container
from infra.azure.checkpoint_group import ensure_checkpoint_group
from infra.azure.checkpoint_name import checkpoint_name, checkpoint_tags
from infra.azure.checkpoints import PUBLIC, list_checkpoints
from infra.azure.live_plans import LivePlans
from infra.azure.resource_group import begin_delete_group
from infra.azure.session import Cloud
from tasks.prune_checkpoints import prune_checkpoints
from tests.standin_fixtures import FaultControl

LOCKED = {"point": "arm.request", "times": None, "fault": {"code": "ScopeLocked", "status": 409}}


@dataclass
class Shelf:
    """Puts snapshots of an empty disk where checkpoints lie: retention looks at names and tags, not at content."""

    cloud: Cloud
    disk_id: str

    def put(self, image: str = "windows-2022", layer: str = "os", scope: str = PUBLIC, **tags: str) -> str:
        """The name of one more checkpoint, with some other tags."""
        fingerprint, ends = secrets.token_hex(32), datetime.now(UTC) + timedelta(days=30)
        group = ensure_checkpoint_group(self.cloud, scope, ends)
        right = checkpoint_tags(
            layer=layer, fingerprint=fingerprint, scope=scope, image=image, lock_digest="1" * 64, build_id=f"{image}-1", expires_at=ends
        )
        name = checkpoint_name(layer, self.cloud.profile.location, fingerprint)
        body = Snapshot(
            {
                "location": self.cloud.profile.location,
                "tags": right | tags,
                "properties": {"creationData": {"createOption": "Copy", "sourceResourceId": self.disk_id}, "incremental": True},
            }
        )
        self.cloud.compute.snapshots.begin_create_or_update(group, name, body, polling_interval=0.05).result()
        return name

    def fingerprint(self, name: str) -> str:
        """The whole fingerprint of a checkpoint on this shelf."""
        (found,) = [state.fingerprint for state in list_checkpoints(self.cloud) if state.name == name]
        return found

    def names(self, scope: str | None = None) -> set[str]:
        """What is there now."""
        return {state.name for state in list_checkpoints(self.cloud, scope)}


def clear(cloud: Cloud) -> None:
    """Delete all checkpoints: those of builds in other tests as well."""
    prefix = f"{cloud.profile.resource_group_prefix}-checkpoints"
    for group in list(cloud.resources.resource_groups.list()):
        if group.name and group.name.startswith(prefix):
            begin_delete_group(cloud, group.name, wait=True)


@pytest.fixture
def shelf(cloud: Cloud) -> Iterator[Shelf]:
    clear(cloud)
    group = f"shelf-{secrets.token_hex(4)}"
    cloud.resources.resource_groups.create_or_update(group, {"location": cloud.profile.location})
    properties = {"creationData": {"createOption": "Empty"}, "diskSizeGB": 4}
    disk = Disk({"location": cloud.profile.location, "properties": properties})
    made = cloud.compute.disks.begin_create_or_update(group, "empty", disk, polling_interval=0.05).result()
    ensure_container(cloud, BUILDS_CONTAINER)
    yield Shelf(cloud, str(made.id))
    clear(cloud)
    begin_delete_group(cloud, group, wait=True)


@pytest.fixture
def run(shelf: Shelf) -> Callable[..., Result]:
    """The command line against the running stand-in."""
    runner = CliRunner(env={"COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"})
    return lambda *arguments: runner.invoke(app, ["checkpoints", *arguments])


def test_pruning_keeps_the_newest_and_what_builds_use_and_says_why(shelf: Shelf) -> None:
    names = [shelf.put() for _ in range(4)]
    other = shelf.put("windows-2025")
    expired = shelf.put(expires_at="2001-01-01T00:00:00Z")
    strange = shelf.put(expires_at="some day")
    private = shelf.put(scope="private-1")
    plans = LivePlans(shelf.cloud)
    plans.announce("build-1", [shelf.fingerprint(names[0])], datetime.now(UTC) + timedelta(hours=1))
    said: list[str] = []
    report = prune_checkpoints(shelf.cloud, keep=2, on_event=said.append)
    plans.withdraw("build-1")
    assert shelf.names(PUBLIC) == {names[0], names[2], names[3], other, strange}
    assert private in shelf.names()
    assert set(report.named("deleted")) == {names[1], expired}
    reasons = {checkpoint.name: checkpoint.reason for checkpoint in report.checkpoints}
    assert private not in reasons
    assert (reasons[names[0]], reasons[names[1]]) == ("a build uses it", "older than the newest 2 of windows-2022 os")
    assert reasons[expired] == "it expired at 2001-01-01T00:00:00Z"
    assert reasons[strange] == "left to a person: its expiry can not be read"
    assert sorted(said) == sorted(f"deleting checkpoint {name}: {reasons[name]}" for name in (names[1], expired))


def test_a_checkpoint_that_can_not_be_deleted_does_not_save_the_others(shelf: Shelf, faults: FaultControl) -> None:
    stuck, gone = (shelf.put(expires_at="2001-01-01T00:00:00Z") for _ in range(2))
    faults({**LOCKED, "key": f"DELETE *{stuck}"})
    report = prune_checkpoints(shelf.cloud)
    assert (report.named("refused"), report.named("deleted"), shelf.names()) == ([stuck], [gone], {stuck})
    with pytest.raises(CloudError, match=r"1 of 2 checkpoints could not be deleted: .*ScopeLocked"):
        report.refuse_refusals()


def test_nothing_is_pruned_when_nobody_can_say_what_is_in_use(shelf: Shelf) -> None:
    kept = shelf.put(expires_at="2001-01-01T00:00:00Z")
    with shelf.cloud.blobs().get_blob_client(BUILDS_CONTAINER, "live/build-9.json") as blob:
        blob.upload_blob(b"no announcement", overwrite=True)
        with pytest.raises(Exception, match=r"build-9"):
            prune_checkpoints(shelf.cloud)
        blob.delete_blob()
    assert shelf.names() == {kept}


def test_the_list_shows_each_checkpoint_with_its_state(shelf: Shelf, run: Callable[..., Result]) -> None:
    good, old, private = shelf.put(), shelf.put("windows-2025", "images", expires_at="2001-01-01T00:00:00Z"), shelf.put(scope="private-1")
    plans = LivePlans(shelf.cloud)
    plans.announce("build-1", [shelf.fingerprint(good)], datetime.now(UTC) + timedelta(hours=1))
    shown, document = run("list"), run("list", "--json")
    plans.withdraw("build-1")
    assert (shown.exit_code, document.exit_code) == (0, 0)
    lines = {line.split()[0]: line for line in shown.stdout.splitlines()}
    assert all(part in lines["os"] for part in ("windows-2022", shelf.fingerprint(good)[:12], "0 min", "public", " 4 ", "usable", "in use"))
    assert all(part in lines["images"] for part in ("windows-2025", "broken", "it expired at 2001-01-01T00:00:00Z"))
    assert shelf.fingerprint(private)[:12] not in shown.stdout
    listed: list[dict[str, Any]] = json.loads(document.stdout)
    assert [(one["name"], one["state"], one["in_use"], one["reason"]) for one in listed] == [
        (old, "broken", False, "it expired at 2001-01-01T00:00:00Z"),
        (good, "usable", True, ""),
    ]
    assert all(one["created_at"] and one["fingerprint"] and one["size_gib"] == 4 for one in listed)


def test_the_command_prunes_what_a_dry_run_announces(shelf: Shelf, run: Callable[..., Result]) -> None:
    older, newer = shelf.put(), shelf.put()
    dry = json.loads(run("prune", "--keep", "1", "--dry-run", "--json").stdout)
    assert [(one["name"], one["action"]) for one in dry["checkpoints"]] == [(newer, "kept"), (older, "would delete")]
    assert shelf.names() == {older, newer}
    done = run("prune", "--keep", "1")
    assert done.exit_code == 0
    assert "deleted" in done.stdout
    assert shelf.names() == {newer}
    assert run("prune", "--keep", "-1").exit_code == 2


def test_the_command_ends_with_an_error_when_one_stays(shelf: Shelf, run: Callable[..., Result], faults: FaultControl) -> None:
    stuck = shelf.put(expires_at="2001-01-01T00:00:00Z")
    faults({**LOCKED, "key": f"DELETE *{stuck}"})
    done = run("prune", "--json")
    assert done.exit_code == CloudError.exit_code
    assert json.loads(done.stdout)["checkpoints"][0]["action"] == "refused"
    assert "1 of 1 checkpoints could not be deleted" in done.stderr


def test_an_empty_cloud_has_no_checkpoints(cloud: Cloud, run: Callable[..., Result]) -> None:
    assert run("list").stdout == "no checkpoints\n"
    assert json.loads(run("prune", "--json").stdout)["checkpoints"] == []


def test_the_reaper_prunes_and_leaves_a_table(shelf: Shelf) -> None:
    gone, kept = shelf.put(expires_at="2001-01-01T00:00:00Z"), shelf.put()
    reaped = reap_resources("local")
    assert gone in reaped
    assert kept not in reaped
    assert shelf.names() == {kept}
    with get_client(sync_client=True) as client:
        of_reaper = ArtifactFilter(key=ArtifactFilterKey(any_=["checkpoints"]))
        (newest,) = client.read_artifacts(artifact_filter=of_reaper, sort=ArtifactSort.CREATED_DESC, limit=1)
    assert newest.description == "1 of 2 checkpoints deleted"
    rows = json.loads(str(newest.data))
    assert {(row["layer"], row["action"]) for row in rows} == {("os", "deleted"), ("os", "kept")}


def test_the_reaper_takes_groups_although_pruning_fails(shelf: Shelf, faults: FaultControl) -> None:
    stuck = shelf.put(expires_at="2001-01-01T00:00:00Z")
    name = f"winvhd-late-{secrets.token_hex(4)}"
    tags = {"created-by": "winvhd", "build_id": "late", "expires_at": "2001-01-01T00:00:00Z"}
    shelf.cloud.resources.resource_groups.create_or_update(name, {"location": shelf.cloud.profile.location, "tags": tags})
    faults({**LOCKED, "key": f"DELETE *{stuck}"})
    with pytest.raises(CloudError, match="could not be deleted"):
        reap_resources("local")
    ends_at = time.monotonic() + 60
    while shelf.cloud.resources.resource_groups.check_existence(name):
        assert time.monotonic() < ends_at, "the reaper left the group"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("seconds", "text"), [(-5, "0 min"), (59, "0 min"), (3599, "59 min"), (3600, "1 h 0 min"), (86399, "23 h 59 min"), (90000, "1 d 1 h")]
)
def test_ages_are_told_in_two_units(seconds: int, text: str) -> None:
    assert age_text(timedelta(seconds=seconds)) == text
