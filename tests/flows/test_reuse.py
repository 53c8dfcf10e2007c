"""What was built before is not built again: an unchanged image, unchanged layers, and a copy that is there already."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.build_image import build_image
from infra.azure.blob_storage import BUILDS_CONTAINER
from infra.azure.checkpoints import Checkpoint, list_checkpoints
from infra.azure.session import Cloud
from tests.flow_attempt import Attempt, checkpoints_of, operations, run
from tests.standin_fixtures import SMALL

LAYERS = ["os", "runtime", "images", "artifacts"]
ADDED = {"url": "https://packages.example.com/added/v1.0.0/added-v1.0.0.zip", "destination": "C:\\akse-cache\\tools\\"}
Define = Callable[..., str]


@pytest.fixture(scope="module")
def built_once() -> dict[str, Attempt]:
    """The build that others find; empty before the first test."""
    return {}


@pytest.fixture
def path(define: Define) -> str:
    """A definition whose base no other test uses."""
    return define(name="reuse", os_disk_gib=50)


@pytest.fixture
def first(path: str, cloud: Cloud, built_once: dict[str, Attempt]) -> Attempt:
    """The first build of the definition."""
    if not built_once:
        built_once["first"] = run(build_image, image=path)
    return built_once["first"]


@pytest.fixture
def vms_made(first: Attempt, cloud: Cloud) -> Callable[[], int]:
    """How many VMs were made since the test began."""
    before = operations(cloud, "vm.create")
    return lambda: operations(cloud, "vm.create") - before


def version_number(attempt: Attempt) -> int:
    """The last part of an image's version, which counts the builds of a day."""
    return int(attempt.result["image_version"].rpartition(".")[2])


def test_first_build_saves_every_layer_but_the_last(first: Attempt, cloud: Cloud) -> None:
    assert (first.reused_layers(), first.saved_layers()) == ([], LAYERS)
    assert first.result["unchanged"] is False
    saved = checkpoints_of(cloud, "reuse")
    assert sorted(saved) == sorted(LAYERS)
    assert {state.build_id for state in saved.values()} == {first.result["build_id"]}
    plan = json.loads((Path(first.result["folder"]) / "plan.json").read_text())
    assert {layer["name"]: layer["fingerprint"] for layer in plan["layers"][:-1]} == {
        name: state.fingerprint for name, state in saved.items()
    }


def test_the_stop_for_a_checkpoint_is_the_restart_that_the_layer_asked_for(first: Attempt) -> None:
    # Features and registry settings ask for one each, and both are the last of their layers.
    assert "Restart" not in first.steps()


def test_nothing_changed_means_the_same_image_without_a_vm(first: Attempt, path: str, vms_made: Callable[[], int], cloud: Cloud) -> None:
    groups = operations(cloud, "resourceGroup.delete")
    again = run(build_image, image=path)
    assert again.result["unchanged"] is True
    same = ("build_id", "image_version", "vhd_id", "vhd_url", "vhd_sha256", "folder", "checks_passed")
    assert {key: again.result[key] for key in same} == {key: first.result[key] for key in same}
    assert vms_made() == 0
    assert operations(cloud, "resourceGroup.delete") == groups
    name = f"Image {first.result['image_version']}"
    assert again.task_states(name) == {name: "Cached"}


def test_an_unchanged_image_is_copied_once(first: Attempt, path: str, vms_made: Callable[[], int], cloud: Cloud) -> None:
    (target,) = cloud.profile.copy_targets
    copied = run(build_image, image=path, copy_to="winvhdcopy/reuse")
    assert copied.result["copied_to"].endswith(f"/reuse/{first.result['build_id']}.vhd")
    with cloud.blobs(target).get_blob_client("reuse", f"{first.result['build_id']}.vhd") as blob:
        written = blob.get_blob_properties().etag
        again = run(build_image, image=path, copy_to="winvhdcopy/reuse")
        assert blob.get_blob_properties().etag == written
    assert again.result["copied_to"] == copied.result["copied_to"]
    assert vms_made() == 0


def test_one_changed_package_builds_only_the_layer_that_holds_it(first: Attempt, define: Define, vms_made: Callable[[], int]) -> None:
    changed = run(build_image, image=define(name="reuse", os_disk_gib=50, packages=[*SMALL["packages"], ADDED]))
    assert (changed.reused_layers(), changed.saved_layers()) == (LAYERS[:3], ["artifacts"])
    assert "disk from ckpt-images-" in changed.said("build VM")
    tasks = [f"Layer {name}" for name in LAYERS[:3]]
    states = changed.task_states(*tasks, "Checkpoint after artifacts")
    assert {name: states[name] for name in tasks} == dict.fromkeys(tasks, "Cached")
    assert states["Checkpoint after artifacts"] == "Completed"
    assert vms_made() == 2
    assert changed.result["cached_files"] == first.result["cached_files"] + 1
    # What the lower layers brought is on the image as well.
    assert changed.result["container_images"] == first.result["container_images"]
    assert changed.result["image_version"] != first.result["image_version"]


@pytest.mark.parametrize("change", ["touched", "deleted"])
def test_an_image_whose_vhd_is_not_as_it_was_is_built_again(
    first: Attempt, path: str, vms_made: Callable[[], int], cloud: Cloud, change: str
) -> None:
    found = run(build_image, image=path)
    with cloud.blobs().get_blob_client(BUILDS_CONTAINER, f"{found.result['build_id']}/image.vhd") as vhd:
        if change == "touched":
            vhd.set_blob_metadata({"touched": "by somebody"})
        else:
            vhd.delete_blob()
    again = run(build_image, image=path)
    assert (again.result["unchanged"], again.reused_layers(), again.saved_layers()) == (False, LAYERS, [])
    assert again.result["build_id"] != found.result["build_id"]
    assert vms_made() == 2
    # The newest is the one that is found from now on.
    assert run(build_image, image=path).result["build_id"] == again.result["build_id"]


def test_a_new_image_can_be_asked_for_on_the_layers_that_are_there(first: Attempt, path: str, vms_made: Callable[[], int]) -> None:
    again = run(build_image, image=path, rebuild="image")
    assert (again.result["unchanged"], again.reused_layers(), again.saved_layers()) == (False, LAYERS, [])
    assert vms_made() == 2
    assert version_number(again) > version_number(first)
    assert again.result["vhd_id"] != first.result["vhd_id"]


def test_everything_can_be_built_again(first: Attempt, path: str, vms_made: Callable[[], int], cloud: Cloud) -> None:
    again = run(build_image, image=path, rebuild="everything")
    assert again.reused_layers() == []
    assert "disk from" not in again.said("build VM")
    assert {"Features", "containerd", "Container images", "Cached files"} <= set(again.steps())
    assert vms_made() == 2
    # What was saved before made room: the next build starts from what was built now.
    made = [state for state in list_checkpoints(cloud) if state.build_id == again.result["build_id"]]
    assert sorted(state.layer for state in made) == sorted(LAYERS)
    assert all(isinstance(state, Checkpoint) for state in made)


def test_another_suite_of_tests_is_another_image_on_the_same_layers(first: Attempt, define: Define) -> None:
    tested = run(build_image, image=define(name="reuse", os_disk_gib=50, e2e_suites=["first-boot"]))
    assert (tested.result["unchanged"], tested.reused_layers()) == (False, LAYERS)


def test_a_comment_changes_nothing(first: Attempt, define: Define, vms_made: Callable[[], int]) -> None:
    setting: dict[str, Any] = {**SMALL["registry"][0], "comment": "why it is there"}
    again = run(build_image, image=define(name="reuse", os_disk_gib=50, registry=[setting], description="Said otherwise."))
    assert (again.result["unchanged"], vms_made()) == (True, 0)
