"""Several builds want the same layer: one builds it, and none takes what it must not have or saves what it no longer may."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest
from azure.storage.blob import BlobLeaseClient
from prefect.blocks.system import Secret

from flows.build_image import build_image
from images.plan import BuildPlan
from infra.azure.blob_storage import BUILDS_CONTAINER
from infra.azure.checkpoints import PUBLIC, delete_checkpoint, list_checkpoints
from infra.azure.session import Cloud
from infra.checkout import ROOT
from infra.local.serve import reveal
from tasks.build import build_id_for
from tasks.plan_images import image_sources, make_plans
from tests.faults.conftest import layered
from tests.flow_attempt import Moment, checkpoints_of, in_a_process, new_run, operations, run
from tests.flow_attempt import once as when
from tests.standin_fixtures import FaultControl

Define = Callable[..., str]
Groups = Callable[[str], list[str]]
LAYERS = ["os", "runtime", "artifacts"]


def plan_of(cloud: Cloud, path: str) -> BuildPlan:
    """The plan that a build of the definition makes."""
    return make_plans(cloud, image_sources([path]))[0]


@contextmanager
def another_build_of(cloud: Cloud, fingerprint: str) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lease on a layer, for 15 s after its last sign of life."""
    given = {"profile": reveal(cloud.profile), "scope": PUBLIC, "fingerprint": fingerprint, "holder": "somebody-else"}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.contract.azure_adapters.lease_holder"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(given) + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_two_processes_build_each_layer_once(define: Define, cloud: Cloud, groups_of: Groups) -> None:
    path = define(**layered("together"))
    first, second = new_run(build_image, image=path), new_run(build_image, image=path)
    with in_a_process(build_image, first) as one, in_a_process(build_image, second) as other:
        (one_code, one_events), (other_code, other_events) = one.end(), other.end()
    assert (one_code, other_code) == (0, 0), one.errors + other.errors
    ended = [event.step for event in (*one_events, *other_events) if event.kind == "end" and event.outcome == "built"]
    for layer in LAYERS:
        assert ended.count(f"checkpoint {layer}") == 1
    assert (ended.count("Features"), ended.count("Cached files")) == (1, 1)
    saved = checkpoints_of(cloud, "together")
    assert sorted(saved) == sorted(LAYERS)
    assert {state.build_id for state in saved.values()} <= {build_id_for("together", first), build_id_for("together", second)}
    assert groups_of("together") == []


def test_a_build_takes_over_the_layer_of_one_that_was_killed(define: Define, cloud: Cloud) -> None:
    path = define(**layered("orphaned"))
    made = operations(cloud, "vm.create")
    seen: list[int] = []

    def kill() -> None:
        seen.append(operations(cloud, "vm.create") - made)
        holder.kill()

    with another_build_of(cloud, plan_of(cloud, path).layers[0].fingerprint) as holder:
        done = run(build_image, when(Moment("progress", "wait for layer os", "somebody-else is building it"), kill), image=path)
    assert done.saved_layers() == LAYERS
    # It waited without a VM.
    assert seen == [0]


def test_a_build_that_lost_its_lease_saves_nothing_and_goes_on(
    define: Define, cloud: Cloud, groups_of: Groups, caplog: pytest.LogCaptureFixture
) -> None:
    path = define(**layered("overtaken"))
    fingerprint = plan_of(cloud, path).layers[0].fingerprint

    def take_the_lease() -> None:
        with cloud.blobs().get_blob_client(BUILDS_CONTAINER, f"leases/{PUBLIC}/{fingerprint}") as blob:
            BlobLeaseClient(blob).break_lease(lease_break_period=0)
            BlobLeaseClient(blob).acquire(15)

    done = run(build_image, when(Moment("progress", "checkpoint os", "the VM is stopped"), take_the_lease), image=path)
    assert done.result["unchanged"] is False
    assert "was lost" in done.said("checkpoint os")
    assert [record.levelname for record in caplog.records if "not saved" in record.getMessage()] == ["WARNING"]
    assert sorted(checkpoints_of(cloud, "overtaken")) == ["artifacts", "runtime"]
    assert groups_of("overtaken") == []


def test_a_build_whose_checkpoints_are_refused_completes_all_the_same(
    define: Define, cloud: Cloud, faults: FaultControl, groups_of: Groups, caplog: pytest.LogCaptureFixture
) -> None:
    path = define(**layered("unsaved"))
    faults({"point": "arm.request", "key": "PUT *snapshots/ckpt-*", "times": None, "fault": {"code": "ScopeLocked", "status": 409}})
    done = run(build_image, image=path)
    assert done.result["unchanged"] is False
    assert faults.struck() == {"arm.request ScopeLocked": len(LAYERS)}
    assert [record.levelname for record in caplog.records if "not saved" in record.getMessage()] == ["WARNING"] * len(LAYERS)
    assert "ScopeLocked" in done.said("checkpoint os")
    assert checkpoints_of(cloud, "unsaved") == {}
    assert groups_of("unsaved") == []


def test_a_checkpoint_that_goes_between_look_and_use_only_costs_its_layer(define: Define, cloud: Cloud, groups_of: Groups) -> None:
    path = define(**layered("pruned"))
    run(build_image, image=path)
    before = checkpoints_of(cloud, "pruned")
    done = run(
        build_image, when(Moment("start", "build VM"), lambda: delete_checkpoint(cloud, before["artifacts"])), image=path, rebuild="image"
    )
    assert done.result["unchanged"] is False
    assert "disk from ckpt-artifacts-" in done.said("build VM")
    assert "disk from ckpt-runtime-" in done.said("build VM")
    assert done.saved_layers() == ["artifacts"]
    after = checkpoints_of(cloud, "pruned")
    assert after["artifacts"].build_id == done.result["build_id"]
    assert {name: after[name] for name in ("os", "runtime")} == {name: before[name] for name in ("os", "runtime")}
    assert groups_of("pruned") == []


def test_layers_of_private_work_serve_no_public_build(define: Define, cloud: Cloud) -> None:
    url = cloud.profile.route("https://secret.example.com/shared-fix.zip?token=not-for-anybody")
    Secret(value=url).save("shared-fix-url", overwrite=True)
    digest = hashlib.sha256(httpx.get(url, timeout=30).content).hexdigest()
    package = {
        "secret": "shared-fix-url",
        "destination": "C:\\akse-cache\\private\\",
        "file_name": "fix.zip",
        "sha256": digest,
    }
    gib = layered("secretive")["os_disk_gib"]
    private = run(build_image, image=define(**layered("secretive", private_packages=[package])))
    assert private.saved_layers() == LAYERS
    assert checkpoints_of(cloud, "secretive") == {}
    scopes = {state.scope for state in list_checkpoints(cloud) if state.image == "secretive"}
    assert len(scopes) == 1
    assert scopes.pop().startswith("private-")
    with cloud.blobs().get_container_client(BUILDS_CONTAINER) as container:
        assert [blob.name for blob in container.list_blobs() if "secretive" in blob.name] == []

    public = run(build_image, image=define(**layered("open", os_disk_gib=gib)))
    assert public.saved_layers() == LAYERS
    assert "disk from" not in public.said("build VM")

    # The other way round costs nobody a secret: private work starts from public layers.
    other = run(build_image, image=define(**layered("discreet", os_disk_gib=gib, private_packages=[package])))
    assert other.saved_layers() == ["artifacts"]
    assert "disk from ckpt-runtime-" in other.said("build VM")
