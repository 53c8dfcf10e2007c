"""`winvhd plan` on the stand-in: what it looks up, and that it changes nothing and says the same twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from azure.mgmt.compute.models import Disk, Snapshot
from typer.testing import CliRunner

from flows.cli.main import app
from images.fingerprint import digest
from images.layer_record import record_of
from images.plan import BuildPlan, Layer
from images.planning.outlook import CHECKPOINT_GONE
from images.planning.plan_digest import plan_digest
from images.timings import StepTiming
from infra.azure.blob_storage import BUILDS_CONTAINER, ensure_container
from infra.azure.build_history import BuildHistory
from infra.azure.built_images import BuiltImages, BuiltRecord
from infra.azure.checkpoint_group import ensure_checkpoint_group
from infra.azure.checkpoint_name import PUBLIC, checkpoint_name, checkpoint_tags
from infra.azure.layer_records import LayerRecords
from infra.azure.session import Cloud, open_cloud
from infra.background import BackgroundProcess
from infra.profiles import load_profile
from tasks.plan_images import image_sources, make_plans, plan_images

Define = Callable[..., str]
WHEN = "2026-11-01T10:00:00+00:00"


@pytest.fixture
def cloud(stand_in: BackgroundProcess) -> Iterator[Cloud]:
    """The stand-in without a Prefect API: a plan needs none."""
    assert stand_in.alive()
    with open_cloud(load_profile("local")) as opened:
        ensure_container(opened, BUILDS_CONTAINER)
        yield opened


@pytest.fixture
def winvhd(stand_in: BackgroundProcess) -> Callable[..., str]:
    """Runs the command and gives what it prints; it must succeed."""

    def run(*arguments: str) -> str:
        done = CliRunner(env={"COLUMNS": "80", "TERM": "dumb"}).invoke(app, arguments)
        assert done.exit_code == 0, done.output
        return done.stdout

    return run


def plan_of(cloud: Cloud, path: str) -> BuildPlan:
    return make_plans(cloud, image_sources([path]))[0]


def layer_of(plan: BuildPlan, name: str) -> Layer:
    return next(layer for layer in plan.layers if layer.name == name)


def save(cloud: Cloud, plan: BuildPlan, name: str) -> str:
    """A checkpoint as a build leaves it, of a disk without content; gives its name."""
    layer, location = layer_of(plan, name), cloud.profile.location
    group = ensure_checkpoint_group(cloud, PUBLIC, None)
    disk = Disk({"location": location, "properties": {"creationData": {"createOption": "Empty"}, "diskSizeGB": 1}})
    made = cloud.compute.disks.begin_create_or_update(group, f"{plan.image}-{name}", disk).result()
    tags = checkpoint_tags(
        layer=name, fingerprint=layer.fingerprint, scope=PUBLIC, image=plan.image, lock_digest="1" * 64, build_id="b", expires_at=None
    )
    source = {"createOption": "Copy", "sourceResourceId": made.id}
    snapshot = Snapshot({"location": location, "tags": tags, "properties": {"creationData": source, "incremental": True}})
    saved = checkpoint_name(name, location, layer.fingerprint)
    cloud.compute.snapshots.begin_create_or_update(group, saved, snapshot).result()
    return saved


def layers_of(answer: dict[str, Any]) -> list[dict[str, Any]]:
    found, left = [], list(answer["plan"]["layers"])
    while left:
        found.append(left.pop(0))
        left = [*found[-1]["children"], *left]
    return found


def test_a_first_plan_builds_all_and_twice_is_the_same_bytes(winvhd: Callable[..., str], define: Define, cloud: Cloud) -> None:
    path = define(name="never-built", os_disk_gib=40)
    first = winvhd("plan", path, "--json")
    assert winvhd("plan", path, "--json") == first
    answer = json.loads(first)
    assert answer["plan_sha256"] == digest(answer["plan"])
    assert [layer["action"] for layer in layers_of(answer)] == ["build"] * 5
    assert answer["plan"]["vms"] == {"build": 1, "test": 1, "plain": 0}
    assert answer["plan"]["disk_gib"] == 80
    assert set(answer["expected"]["layers"].values()) == {None}


def test_it_finds_checkpoints_and_names_what_changed_since(winvhd: Callable[..., str], define: Define, cloud: Cloud) -> None:
    setting = {"path": "HKLM:\\SYSTEM\\CurrentControlSet\\Services\\hns\\State", "name": "EnableCompartmentNamespace", "value": 1}
    records = LayerRecords(cloud)
    with cloud.blobs().get_container_client(BUILDS_CONTAINER) as container:
        for blob in container.list_blobs(name_starts_with="layers/images/"):
            # Of an image that another test built.
            container.delete_blob(blob.name)
    before = plan_of(cloud, define(name="often-built", os_disk_gib=41))
    saved = save(cloud, before, "os")
    for name in ("os", "runtime"):
        records.put(record_of(before, layer_of(before, name), WHEN))
    BuildHistory(cloud).record("b", "often-built", [StepTiming(name="x", layer="runtime", start=WHEN, seconds=180, outcome="built")])
    path = define(name="often-built", os_disk_gib=41, registry=[{**setting, "value": 2}])
    answer = json.loads(winvhd("plan", path, "--json"))
    os_layer, runtime, images, *_ = layers_of(answer)
    assert (os_layer["action"], os_layer["checkpoint"]) == ("reuse", saved)
    assert runtime["since"]["checkpoint"] == layer_of(before, "runtime").fingerprint[:12]
    key = f"set-registry-setting.settings[{setting['path']}\\{setting['name']}].value"
    assert runtime["since"]["changes"] == [{"key": key, "kind": "changed", "old": 1, "new": 2}]
    assert images["since"] is None
    assert answer["expected"]["layers"][runtime["fingerprint"]] == 3
    page = winvhd("plan", path)
    assert f"{key}: 1 → 2\n" in page, "lines are not wrapped where nobody looks at a terminal"
    assert page.splitlines()[-1].startswith("Plan: 1 layer to reuse, 4 to build, ")


def test_an_image_that_was_built_from_this_plan_needs_nothing(winvhd: Callable[..., str], define: Define, cloud: Cloud) -> None:
    path = define(name="done", os_disk_gib=42)
    plan = plan_of(cloud, path)
    with cloud.blobs().get_blob_client(BUILDS_CONTAINER, "done/image.vhd") as vhd:
        vhd.upload_blob(b"\0" * 512, blob_type="PageBlob", overwrite=True)
        etag = str(vhd.get_blob_properties().etag)
    record = BuiltRecord(
        image="done",
        plan_digest=plan_digest(plan),
        build_id="done-1",
        image_version="20348.1.26110101",
        built_at=datetime(2026, 11, 1, tzinfo=UTC),
        container=BUILDS_CONTAINER,
        blob_name="done/image.vhd",
        url="https://account.example/builds/done/image.vhd",
        sha256="0" * 64,
        size_bytes=512,
        data_bytes=512,
        etag=etag,
        summary={},
    )
    BuiltImages(cloud).record(record)
    page = winvhd("plan", path)
    assert page == "done  nothing to do: 20348.1.26110101\nPlan: nothing to do, 1 image unchanged, no VM\n"


def test_images_share_what_they_have_in_common(winvhd: Callable[..., str], define: Define, cloud: Cloud) -> None:
    one, other = define(name="shares-one", os_disk_gib=43), define(name="shares-two", os_disk_gib=43, minimum_free_gib=6)
    answer = json.loads(winvhd("plan", one, other, one, "--json"))
    assert [image["image"] for image in answer["plan"]["images"]] == ["shares-one", "shares-two"]
    assert [layer["images"] for layer in layers_of(answer)][:4] == [["shares-one", "shares-two"]] * 4
    assert answer["plan"]["built"] == 6
    assert answer["plan"]["vms"]["build"] == 2


def test_stages_are_listed_with_their_scripts(winvhd: Callable[..., str], define: Define, cloud: Cloud) -> None:
    path = define(name="listed", os_disk_gib=44)
    page = winvhd("plan", path, "--stages")
    assert page.startswith("listed from MicrosoftWindowsServer:")
    assert "Install-Containerd.ps1" in page
    (plan,) = (BuildPlan.model_validate(each) for each in json.loads(winvhd("plan", path, "--stages", "--json")))
    assert plan == plan_of(cloud, path)


def test_a_plan_leaves_the_cloud_as_it_was(winvhd: Callable[..., str], define: Define, cloud: Cloud) -> None:
    def groups() -> list[str]:
        return sorted(group.name or "" for group in cloud.resources.resource_groups.list())

    def blobs() -> list[str]:
        with cloud.blobs().get_container_client(BUILDS_CONTAINER) as container:
            return sorted(blob.name for blob in container.list_blobs())

    before = (groups(), blobs())
    winvhd("plan", define(name="only-planned", os_disk_gib=45))
    assert (groups(), blobs()) == before


def test_two_definitions_of_one_name_are_refused(define: Define, tmp_path: Path) -> None:
    copy = tmp_path / "same-name.yaml"
    first = Path(define(name="same-name"))
    copy.write_bytes(first.read_bytes())
    done = CliRunner().invoke(app, ["plan", str(first), str(copy)])
    assert done.exit_code == 3
    assert "both define same-name" in done.stderr


@pytest.mark.parametrize("arguments", [[], ["windows-2025", "--all"]])
def test_images_are_named_or_all_are_meant(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, ["plan", *arguments]).exit_code == 2


def test_a_private_scope_sees_its_own_and_what_is_public_and_nobody_sees_it(define: Define, cloud: Cloud) -> None:
    sources = image_sources([define(name="half-private", os_disk_gib=46)])
    (plan,) = make_plans(cloud, sources)
    scope = "private-0123456789ab"
    empty = plan_images(cloud, sources, scope)
    assert {layer.action for layer in empty.work.walk()} == {"build"}, "a scope without a container is one without records"
    saved = save(cloud, plan, "os")
    ensure_container(cloud, scope)
    LayerRecords(cloud, container=scope).put(record_of(plan, layer_of(plan, "runtime"), WHEN))
    private, public = plan_images(cloud, sources, scope), plan_images(cloud, sources)
    os_layer, runtime, *_ = private.work.walk()
    assert (os_layer.action, os_layer.checkpoint) == ("reuse", saved)
    assert runtime.reason == CHECKPOINT_GONE
    assert CHECKPOINT_GONE not in {layer.reason for layer in public.work.walk()}
