"""Several images in one run: common layers once, branches side by side within the quota, and a failure that stays one image's own."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

from flows.build_image import build_image
from flows.build_images import build_images
from images.errors import ImagesFailedError
from infra.azure.session import Cloud
from infra.prefect.vcpu_quota import ensure_quota, occupied, quota_name
from tasks.build import build_id_for
from tests.faults.conftest import layered
from tests.flow_attempt import Attempt, Moment, checkpoints_of, in_a_process, new_run, once, operations, run, standin_status
from tests.standin_fixtures import FaultControl

Define = Callable[..., str]
Defined = Callable[..., list[str]]
VCPUS = 4
"""Of the one size that these builds may use."""


@pytest.fixture
def family(define: Define) -> Defined:
    """Definitions of these names with the same os and runtime layers and a package of their own."""

    def make(*names: str, gib: int, **changes: Any) -> list[str]:
        return [define(**layered(name, os_disk_gib=gib, **changes)) for name in names]

    return make


@pytest.fixture(scope="module")
def finished() -> dict[str, Attempt]:
    """Runs that several tests look at."""
    return {}


@pytest.fixture
def three(family: Defined, cloud: Cloud, finished: dict[str, Attempt]) -> tuple[list[str], Attempt, int]:
    """(definitions, run, VMs made) of a run that builds three images with two common layers."""
    paths = family("first", "second", "third", gib=61)
    if "three" not in finished:
        made = operations(cloud, "vm.create")
        finished["three"] = run(build_images, images=paths)
        finished["vms"] = operations(cloud, "vm.create") - made  # type: ignore[assignment]
    return paths, finished["three"], finished["vms"]  # type: ignore[return-value]


def saved(attempt: Attempt) -> Counter[str]:
    """How often each layer was built and saved in a run."""
    return Counter(event.step for event in attempt.events if event.kind == "end" and event.step.startswith("checkpoint "))


def rows(attempt: Attempt) -> list[dict[str, Any]]:
    """The table that a run leaves, a row an image."""
    with get_client(sync_client=True) as client:
        of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[attempt.flow_run_id]))
        (table,) = [artifact for artifact in client.read_artifacts(artifact_filter=of_run) if artifact.key == "images"]
    found: list[dict[str, Any]] = json.loads(str(table.data))
    return found


def test_common_layers_are_built_once_and_branches_each(three: tuple[list[str], Attempt, int], cloud: Cloud) -> None:
    _, attempt, vms = three
    assert [result["image"] for result in attempt.result] == ["first", "second", "third"]
    assert saved(attempt) == {"checkpoint os": 1, "checkpoint runtime": 1, "checkpoint artifacts": 3}
    assert Counter(event.step for event in attempt.events if event.kind == "end")["Features"] == 1
    # A build that waits for a layer waits without a VM: one to build in and one to test in for each image.
    assert vms == 6
    assert {row["image"]: row["outcome"] for row in rows(attempt)} == dict.fromkeys(("first", "second", "third"), "built")


def test_every_image_of_a_run_has_resources_and_documents_of_its_own(three: tuple[list[str], Attempt, int]) -> None:
    _, attempt, _ = three
    assert [result["build_id"] for result in attempt.result] == [
        build_id_for(name, attempt.flow_run_id) for name in ("first", "second", "third")
    ]
    assert len({result["vhd_sha256"] for result in attempt.result}) == 3


def test_nothing_is_left_but_checkpoints(three: tuple[list[str], Attempt, int], resource_groups: Callable[[], list[str]]) -> None:
    _, attempt, _ = three
    assert [name for name in resource_groups() if attempt.flow_run_id.hex[:12] in name] == []


def test_one_changed_image_is_built_and_the_others_are_not(
    three: tuple[list[str], Attempt, int], family: Defined, cloud: Cloud, resource_groups: Callable[[], list[str]]
) -> None:
    paths, attempt, _ = three
    family("third", gib=61, e2e_suites=["first-boot"])
    made = operations(cloud, "vm.create")
    again = run(build_images, images=paths)
    assert [result["unchanged"] for result in again.result] == [True, True, False]
    assert [result["image_version"] for result in again.result][:2] == [result["image_version"] for result in attempt.result][:2]
    assert saved(again) == {}
    assert operations(cloud, "vm.create") - made == 2
    assert [row["outcome"] for row in rows(again)] == ["unchanged", "unchanged", "built"]


def test_one_image_that_fails_does_not_stop_the_others(
    family: Defined, cloud: Cloud, faults: FaultControl, resource_groups: Callable[[], list[str]]
) -> None:
    paths = family("well", "sick", "sound", gib=62)
    faults({"point": "guest.stage", "key": "Save-CachedFile.ps1 *-sick-*", "times": None, "fault": {"code": "access-denied"}})
    attempt = run(build_images, images=paths)
    with pytest.raises(ImagesFailedError) as caught:
        _ = attempt.result
    assert list(caught.value.failures) == ["sick"]
    assert "1 of 3" in str(caught.value)
    assert "access-denied" in str(caught.value)
    outcomes = {row["image"]: row["outcome"] for row in rows(attempt)}
    assert outcomes == {"well": "built", "sick": "failed", "sound": "built"}
    assert saved(attempt)["checkpoint os"] == 1
    assert [name for name in resource_groups() if attempt.flow_run_id.hex[:12] in name] == []

    # Again: only the one that failed.
    faults()
    again = run(build_images, images=paths)
    assert [result["unchanged"] for result in again.result] == [True, False, True]
    assert saved(again) == {"checkpoint artifacts": 1}


def test_a_common_layer_that_can_not_be_built_is_tried_once_and_every_image_says_so(
    family: Defined, cloud: Cloud, faults: FaultControl, resource_groups: Callable[[], list[str]]
) -> None:
    paths = family("one", "two", "three", gib=63)
    faults({"point": "guest.stage", "key": "Install-NodeFeature.ps1 *", "times": None, "fault": {"code": "unknown-feature"}})
    made = operations(cloud, "vm.create")
    attempt = run(build_images, images=paths)
    with pytest.raises(ImagesFailedError) as caught:
        _ = attempt.result
    assert sorted(caught.value.failures) == ["one", "three", "two"]
    assert all("unknown-feature" in str(error) for error in caught.value.failures.values())
    assert sum("which several images share" in str(error) for error in caught.value.failures.values()) == 2
    assert faults.struck() == {"guest.stage unknown-feature": 1}
    assert operations(cloud, "vm.create") - made == 1
    assert [name for name in resource_groups() if attempt.flow_run_id.hex[:12] in name] == []


@contextmanager
def watched_vms(cloud: Cloud) -> Iterator[list[int]]:
    """How many VMs had cores, time after time while the block runs."""
    seen: list[int] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            machines = standin_status(cloud)["machines"]
            seen.append(sum(machine["power"] not in {"deallocated", "PowerState/deallocated"} for machine in machines))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


def test_a_run_never_has_more_vms_than_the_quota_allows(family: Defined, cloud: Cloud, change_profile: Callable[..., None]) -> None:
    change_profile(vcpu_quota=VCPUS, vm_sizes=(cloud.profile.vm_sizes[0],))
    paths = family("tight", "tighter", "tightest", gib=64, e2e_suites=["first-boot"])
    quota = quota_name(f"local-{cloud.profile.location}")
    ensure_quota(quota, VCPUS)
    with ExitStack() as others, watched_vms(cloud) as seen:
        others.enter_context(occupied(quota, VCPUS))
        # The run gets vCPUs only after it was seen to wait for them.
        attempt = run(build_images, once(Moment("progress", "build VM", f"waiting for {VCPUS} vCPUs"), others.close), images=paths)
    assert [result["unchanged"] for result in attempt.result] == [False] * 3
    # One to build in or one to test in, although three images are built: nobody waits for ever for the other kind.
    assert max(seen) == 1


@pytest.mark.parametrize("moment", [Moment("start", "Features"), Moment("start", "Cached files")], ids=["in-a-common-layer", "in-branches"])
def test_a_run_that_is_cancelled_leaves_nothing(
    family: Defined, cloud: Cloud, resource_groups: Callable[[], list[str]], moment: Moment
) -> None:
    gib = 65 if moment.step == "Features" else 66
    run_id = new_run(build_images, images=family("stop", "halt", gib=gib))
    with in_a_process(build_images, run_id) as running:
        running.wait_for(moment)
        # As Prefect's runner ends a run that is cancelled.
        running.process.terminate()
        running.end(timeout_s=90)
    assert [name for name in resource_groups() if run_id.hex[:12] in name] == []
    assert [machine for machine in standin_status(cloud)["machines"] if run_id.hex[:12] in machine["id"]] == []


def test_a_single_image_goes_on_where_a_run_of_several_stopped(three: tuple[list[str], Attempt, int], cloud: Cloud, define: Define) -> None:
    fourth = run(build_image, image=define(**layered("fourth", os_disk_gib=61)))
    assert (fourth.saved_layers(), fourth.reused_layers()) == (["artifacts"], ["os", "runtime"])
    assert set(checkpoints_of(cloud, "fourth")) == {"artifacts"}
