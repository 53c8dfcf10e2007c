"""A build that failed or was killed goes on from its last checkpoint, or in the VM it left; nothing is published twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flows.build_image import build_image
from images.errors import CaptureError, StageError
from infra.azure.blob_storage import BUILDS_CONTAINER
from infra.azure.session import Cloud
from tasks.build import build_id_for
from tests.faults.conftest import layered
from tests.flow_attempt import Attempt, Moment, attempt, checkpoints_of, killed_at, let_leases_run_out, new_run, operations, retry, run
from tests.standin_fixtures import FaultControl

Define = Callable[..., str]
Groups = Callable[[str], list[str]]
A_STAGE_RUNS = Moment("progress", "Cached files")
IN_THE_FIRST_LAYER = Moment("start", "Features")
VM_IS_OFF = Moment("progress", "checkpoint os", "the VM is stopped")
JUST_SAVED = Moment("progress", "checkpoint os", "saved as")
CAPTURING = Moment("progress", "capture the VHD", "copying disk")
COPYING = Moment("start", "copy the VHD")


def versions_given(cloud: Cloud, image: str) -> dict[str, str]:
    """Build ids by the versions of an image that were given out."""
    start = f"versions/{image}/"
    with cloud.blobs().get_container_client(BUILDS_CONTAINER) as container:
        return {
            blob.name.removeprefix(start): container.download_blob(blob.name).readall().decode()
            for blob in container.list_blobs(name_starts_with=start)
        }


def blobs(cloud: Cloud, start: str) -> list[str]:
    """Names of the blobs of the builds container that begin so."""
    with cloud.blobs().get_container_client(BUILDS_CONTAINER) as container:
        return [blob.name for blob in container.list_blobs(name_starts_with=start)]


def assert_whole(done: Attempt, cloud: Cloud, name: str) -> None:
    """The build is finished as one that was never disturbed, and there is one image of it."""
    assert done.result["unchanged"] is False
    assert versions_given(cloud, name) == {done.result["image_version"]: done.result["build_id"]}
    assert blobs(cloud, f"built/{name}/") and len(blobs(cloud, f"built/{name}/")) == 1
    assert blobs(cloud, f"releases/{name}/") == [f"releases/{name}/{done.result['image_version']}.json"]
    assert (Path(done.result["folder"]) / "e2e.xml").exists()
    # Plans of builds that run keep their checkpoints from being pruned.
    assert blobs(cloud, f"live/{done.result['build_id']}") == []


@pytest.mark.parametrize("again", ["retried", "new"])
def test_after_a_failure_at_sysprep_only_the_last_layer_is_done_again(
    define: Define, cloud: Cloud, faults: FaultControl, groups_of: Groups, again: str
) -> None:
    name = f"sysprep-{again}"
    path = define(**layered(name))
    faults(profile="sysprep-stuck")
    first = run(build_image, image=path)
    with pytest.raises(CaptureError, match="sysprep did not finish"):
        _ = first.result
    assert (first.saved_layers(), groups_of(name)) == (["os", "runtime", "artifacts"], [])
    faults()
    made = operations(cloud, "vm.create")
    if again == "retried":
        retry(first.flow_run_id)
        done = attempt(build_image, first.flow_run_id)
        assert done.result["build_id"] == build_id_for(name, first.flow_run_id)
        assert_whole(done, cloud, name)
    else:
        done = run(build_image, image=path)
        assert done.result["build_id"] != build_id_for(name, first.flow_run_id)
    assert (done.reused_layers(), done.saved_layers()) == (["os", "runtime", "artifacts"], [])
    assert not {"Features", "Cached files"} & set(done.steps())
    tasks = ["Layer os", "Layer runtime", "Layer artifacts"]
    states = done.task_states(*tasks)
    assert {name: states[name] for name in tasks} == dict.fromkeys(tasks, "Cached")
    assert operations(cloud, "vm.create") - made == 2
    assert groups_of(name) == []


def test_after_a_failure_in_a_layer_that_layer_is_done_again_and_none_below(
    define: Define, cloud: Cloud, faults: FaultControl, groups_of: Groups
) -> None:
    path = define(**layered("interrupted"))
    faults({"point": "guest.stage", "key": "Save-CachedFile.ps1 *", "fault": {"code": "access-denied"}})
    first = run(build_image, image=path)
    with pytest.raises(StageError, match="access-denied"):
        _ = first.result
    assert first.saved_layers() == ["os", "runtime"]
    done = run(build_image, image=path)
    assert done.result["unchanged"] is False
    assert (done.reused_layers(), done.saved_layers()) == (["os", "runtime"], ["artifacts"])
    assert {state.build_id for state in checkpoints_of(cloud, "interrupted").values()} == {
        build_id_for("interrupted", first.flow_run_id),
        done.result["build_id"],
    }
    assert groups_of("interrupted") == []


@pytest.mark.parametrize(
    ("moment", "reused", "saved"),
    [
        (IN_THE_FIRST_LAYER, [], ["os", "runtime", "artifacts"]),
        (VM_IS_OFF, [], ["os", "runtime", "artifacts"]),
        (JUST_SAVED, ["os"], ["runtime", "artifacts"]),
        (A_STAGE_RUNS, ["os", "runtime"], ["artifacts"]),
    ],
    ids=["in-the-first-layer", "before-the-snapshot", "after-the-snapshot", "while-a-stage-runs"],
)
def test_a_retry_goes_on_in_the_vm_of_the_killed_attempt(
    define: Define, cloud: Cloud, groups_of: Groups, moment: Moment, reused: list[str], saved: list[str]
) -> None:
    name = f"killed-{moment.step.split()[-1].lower()}-{len(saved)}-{moment.kind}"
    run_id = new_run(build_image, image=define(**layered(name)))
    killed_at(build_image, run_id, moment)
    assert len(groups_of(name)) == 1
    made = operations(cloud, "vm.create")
    let_leases_run_out(cloud)
    retry(run_id)
    done = attempt(build_image, run_id)
    assert_whole(done, cloud, name)
    assert done.steps()["build VM"] == "reused"
    assert "going on in VM build of an earlier attempt" in done.said("build VM")
    assert [layer for layer in done.reused_layers() if layer != "images"] == reused
    assert done.saved_layers() == saved
    # Only the one for the boot test.
    assert operations(cloud, "vm.create") - made == 1
    assert groups_of(name) == []


def test_a_new_run_starts_from_the_last_checkpoint_of_a_killed_one(define: Define, cloud: Cloud, groups_of: Groups) -> None:
    path = define(**layered("abandoned"))
    run_id = new_run(build_image, image=path)
    killed_at(build_image, run_id, A_STAGE_RUNS)
    let_leases_run_out(cloud)
    done = run(build_image, image=path)
    assert done.steps()["build VM"] == "built"
    assert "disk from ckpt-runtime-" in done.said("build VM")
    assert done.saved_layers() == ["artifacts"]
    # What the killed run made is the reaper's: it may yet be retried.
    assert groups_of("abandoned") == [f"winvhd-{build_id_for('abandoned', run_id)}"]


def test_a_retry_after_a_kill_in_the_capture_captures_its_own_disk_under_the_same_version(
    define: Define, cloud: Cloud, groups_of: Groups
) -> None:
    run_id = new_run(build_image, image=define(**layered("captured", e2e_suites=["first-boot"])))
    killed_at(build_image, run_id, CAPTURING)
    (version,) = versions_given(cloud, "captured")
    retry(run_id)
    done = attempt(build_image, run_id)
    assert_whole(done, cloud, "captured")
    assert done.result["image_version"] == version
    # A generalized disk starts no build: the VM was of no use any more.
    assert done.steps()["build VM"] == "built"
    assert done.saved_layers() == []
    assert groups_of("captured") == []


def test_a_retry_after_a_kill_before_the_copy_only_copies(define: Define, cloud: Cloud) -> None:
    run_id = new_run(build_image, image=define(**layered("uncopied")), copy_to="winvhdcopy/resumed")
    killed_at(build_image, run_id, COPYING)
    made = operations(cloud, "vm.create")
    retry(run_id)
    done = attempt(build_image, run_id)
    assert done.result["unchanged"] is True
    assert operations(cloud, "vm.create") == made
    assert done.result["build_id"] == build_id_for("uncopied", run_id)
    assert len(versions_given(cloud, "uncopied")) == len(blobs(cloud, "built/uncopied/")) == 1
    (target,) = cloud.profile.copy_targets
    with cloud.blobs(target).get_container_client("resumed") as container:
        assert [blob.name for blob in container.list_blobs()] == [f"{done.result['build_id']}.vhd"]
