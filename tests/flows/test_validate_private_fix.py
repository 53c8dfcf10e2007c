"""Validating a private fix: one verdict from two images that share their layers, and nothing of it where others look."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey, FlowRunFilter, FlowRunFilterId
from typer.testing import CliRunner, Result

from flows.build_image import build_image
from flows.cli.main import app
from flows.reap_resources import reap_resources
from images.errors import BuildError, CloudError, PrivateImageError, PrivateValidationError
from images.privacy import scope_of
from infra.azure.blob_storage import BUILDS_CONTAINER, CACHE_CONTAINER
from infra.azure.private_container import delete_private_container, open_private_container, private_containers
from infra.azure.session import Cloud
from infra.checkout import output_folder
from infra.private_folders import mark_folder, private_folders
from infra.profiles import load_profile
from tasks.progress import StepEvent
from tasks.purge_private import private_work, purge_expired, purge_scope
from tests.faults.conftest import layered
from tests.flow_attempt import Attempt, Moment, checkpoints_of, once, run
from tests.private_fixes import FIRST_BOOT, FIXABLE_LAYERS, blob_names, container_names, groups_in, keep_fix, scope_of_run, validate
from tests.standin_fixtures import FaultControl

LAYERS = FIXABLE_LAYERS
PUBLIC = (BUILDS_CONTAINER, CACHE_CONTAINER)


@dataclass(frozen=True)
class Validated:
    """A validation, and what was public before and after it."""

    attempt: Attempt
    before: dict[str, set[str]]
    after: dict[str, set[str]]
    group_tags: list[dict[str, str]]
    """Of the patched side's resource group, while its image was tested."""

    @property
    def result(self) -> dict[str, Any]:
        """What it returned."""
        return dict(self.attempt.result)


def artifacts_of(flow_run_id: UUID) -> dict[str, Any]:
    """What the run shows in Prefect, by key."""
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id])))
    return {artifact.key or "": artifact for artifact in found}


@pytest.fixture(scope="session")
def first(fixable: str) -> Validated:
    """The validation of a fix that cures the image."""
    from infra.azure.session import open_cloud

    with open_cloud(load_profile("local")) as cloud:
        before = {name: blob_names(cloud, name) for name in PUBLIC}
        tags: list[dict[str, str]] = []

        def look(event: StepEvent) -> None:
            # Of its own test VM: how far the other side is then is a matter of chance.
            if event.image == "patched" and Moment("start", "first contact (test VM)").is_now(event):
                tags.extend(group.tags or {} for group in cloud.resources.resource_groups.list() if "-patched-" in (group.name or ""))

        attempt = validate(fixable, keep_fix("20348.5510/fixed.msu"), look)
        return Validated(attempt, before, {name: blob_names(cloud, name) for name in PUBLIC}, tags)


def test_a_fix_that_cures_is_fixed(first: Validated) -> None:
    assert (first.attempt.state.name, first.result["verdict"]) == ("Fixed", "fixed")
    assert first.result["counts"]["fixed"] == 2
    assert first.result["fix"].startswith("private fix ")


def test_the_second_image_costs_the_layer_of_the_fix_and_finish(first: Validated) -> None:
    sides = first.result["sides"]
    assert {name: side["layers_built"] for name, side in sides.items()} == {"baseline": ["finish"], "patched": ["fix", "finish"]}
    for side in sides.values():
        # The layer of container images is empty here.
        assert [layer for layer in side["layers_reused"] if layer != "images"] == LAYERS
        assert side["vms"] == 2


@pytest.mark.parametrize(
    ("fix", "changes", "verdict", "in_effect", "words"),
    [
        ("20348.5511/no-effect.cab", {}, "no effect", True, "failed every time without the fix and with it"),
        ("20348.5512/regression.exe", {"arguments": ["/quiet"]}, "regression", None, "passed without the fix and failed every time"),
        ("20348.5513/fixed.zip", {}, "fixed", True, "both sides ran with Secure Boot off, the patched one with test signing on"),
        ("20348.5499/contained.zip", {}, "no effect", True, "The base image held the fix before it was installed"),
        ("20348.5514/fixed.msu", {"suites": [FIRST_BOOT]}, "inconclusive", True, "these suites do not show what it is to cure"),
    ],
    ids=lambda value: value if isinstance(value, str) and "/" in value else "",
)
def test_the_verdict(fixable: str, fix: str, changes: dict[str, Any], verdict: str, in_effect: bool | None, words: str) -> None:
    attempt = validate(fixable, keep_fix(fix), **changes)
    assert (attempt.result["verdict"], attempt.result["in_effect"]) == (verdict, in_effect), attempt.result
    assert attempt.state.name == verdict.capitalize()
    assert words in " ".join(attempt.result["reasons"])
    (text,) = [artifact.data for key, artifact in artifacts_of(attempt.flow_run_id).items() if key.endswith("-verdict")]
    assert words in text


def test_prefect_shows_verdict_counts_and_timings_and_no_step(first: Validated) -> None:
    assert first.attempt.task_states("baseline image", "patched image") == {"baseline image": "Completed", "patched image": "Completed"}
    artifacts = artifacts_of(first.attempt.flow_run_id)
    digits = first.result["fix"].removeprefix("private fix ")
    assert set(artifacts) == {f"fix-{digits}-checks", f"fix-{digits}-verdict"}
    assert "2 fixed" in artifacts[f"fix-{digits}-verdict"].data
    assert {"baseline_seconds", "patched_seconds", "change"} <= set(first.result["checks"][0])
    for words in ("20348.5510", "KB99"):
        assert words not in str([artifact.data for artifact in artifacts.values()]) + str(first.result)


def test_documents_images_and_logs_are_in_the_private_container_alone(first: Validated, cloud: Cloud) -> None:
    scope = scope_of_run(first.attempt)
    digits = scope.removeprefix("private-")
    there = blob_names(cloud, scope)
    for side in ("baseline", "patched"):
        wanted = {"release-notes.txt", "sbom.cdx.json", "provenance.json", "plan.json", "build-log.txt", "image.vhd"}
        assert {f"{side}-{digits}/{name}" for name in wanted} <= there
    # Neither version nor lease, timings, plan or announcement: as if nothing had been.
    assert first.after == first.before
    assert [path for path in output_folder().iterdir() if digits in path.name] == []
    # What the machines made is gone, what is kept has an end.
    (group,) = groups_in(cloud, scope)
    assert "checkpoints" in group
    found = {container.scope: container.expires_at for container in private_containers(cloud)}
    assert timedelta(days=6, hours=23) < found[scope] - datetime.now(UTC) <= timedelta(days=7)


def test_a_public_build_starts_from_no_layer_of_private_work(define: Callable[..., str], cloud: Cloud) -> None:
    path = define(**layered("unseen"))
    private = validate(path, keep_fix("20348.5515/fixed.cab"))
    assert sorted(checkpoints_of(cloud, "unseen", scope_of_run(private))) == sorted([*LAYERS, "fix"])
    sides = private.result["sides"].values()
    # What nobody had built before was built once for both.
    assert sorted(layer for side in sides for layer in side["layers_built"]) == sorted([*LAYERS, "fix", "finish", "finish"])
    public = run(build_image, image=path)
    assert (public.reused_layers(), public.saved_layers()) == ([], LAYERS)


def test_vms_of_private_work_expire_as_soon_as_anybodys(first: Validated) -> None:
    (tags,) = first.group_tags
    assert tags["scope"] == scope_of_run(first.attempt)
    assert timedelta(hours=23) < datetime.fromisoformat(tags["expires_at"]) - datetime.now(UTC) < timedelta(hours=24)


def test_work_that_is_purged_while_it_is_built_ends_and_does_not_come_back(fixable: str, cloud: Cloud) -> None:
    purged: list[str] = []
    before = {work.scope for work in private_work(cloud)}

    def purge() -> None:
        (scope,) = {work.scope for work in private_work(cloud) if work.running} - before
        assert purge_scope(cloud, scope, lambda _: None).problems == ()
        purged.append(scope)

    attempt = validate(fixable, keep_fix("20348.5510/fixed.msu"), once(Moment("start", "capture the VHD"), purge))
    with pytest.raises(PrivateValidationError, match="purged while"):
        attempt.state.result()
    assert purged == [scope_of_run(attempt)]
    assert purged[0] not in container_names(cloud)
    assert groups_in(cloud, purged[0]) == set()
    assert [path.name for path in output_folder().iterdir() if purged[0].removeprefix("private-") in path.name] == []


@pytest.fixture
def work(cloud: Cloud) -> str:
    """A scope with a container, a resource group and a folder on this machine."""
    scope = f"private-work-{datetime.now(UTC):%H%M%S%f}"
    open_private_container(cloud, scope, datetime.now(UTC) + timedelta(days=7))
    with cloud.blobs().get_blob_client(scope, "build/log.txt") as blob:
        blob.upload_blob(b"x" * 1000)
    tags = {"created-by": "winvhd", "scope": scope, "expires_at": "2099-01-01T00:00:00Z"}
    cloud.resources.resource_groups.create_or_update(f"winvhd-{scope}", {"location": cloud.profile.location, "tags": tags})
    folder = output_folder() / f"patched-{scope}"
    folder.mkdir(parents=True)
    mark_folder(folder, scope, datetime.now(UTC) + timedelta(days=7))
    return scope


def assert_gone(cloud: Cloud, scope: str) -> None:
    assert scope not in container_names(cloud)
    assert groups_in(cloud, scope) == set()
    assert scope not in {folder.scope for folder in private_folders(output_folder())}
    assert scope not in {found.scope for found in private_work(cloud)}


def test_the_reaper_purges_what_has_expired_and_says_so(work: str, cloud: Cloud) -> None:
    kept = f"{work}-kept"
    open_private_container(cloud, kept, datetime.now(UTC) + timedelta(hours=1))
    open_private_container(cloud, work, datetime.now(UTC) - timedelta(seconds=2))
    attempt = run(reap_resources)
    assert work in attempt.result
    assert kept not in attempt.result
    assert kept in container_names(cloud)
    assert_gone(cloud, work)
    of_run = ArtifactFilter(
        key=ArtifactFilterKey(any_=["purged-private-work"]), flow_run_id=ArtifactFilterFlowRunId(any_=[attempt.flow_run_id])
    )
    with get_client(sync_client=True) as client:
        (table,) = client.read_artifacts(artifact_filter=of_run)
    assert work in str(table.data)
    assert f"container {work}" in str(table.data)
    assert purge_scope(cloud, kept, lambda _: None).deleted == (f"container {kept}",)


def test_a_folder_whose_container_another_machine_deleted_goes_at_its_expiry(work: str, cloud: Cloud) -> None:
    delete_private_container(cloud, work)
    assert work not in [purged.scope for purged in purge_expired(cloud, lambda _: None)]
    mark_folder(output_folder() / f"patched-{work}", work, datetime.now(UTC) - timedelta(seconds=2))
    assert work in [purged.scope for purged in purge_expired(cloud, lambda _: None)]
    assert_gone(cloud, work)


def test_an_expiry_that_nobody_can_read_has_passed(work: str, cloud: Cloud) -> None:
    with cloud.blobs().get_container_client(work) as container:
        container.set_container_metadata({"winvhd_scope": work, "winvhd_expires_at": "next week"})
    assert work in [purged.scope for purged in purge_expired(cloud, lambda _: None)]
    assert_gone(cloud, work)


def test_what_can_not_be_purged_is_named_and_the_rest_goes(work: str, cloud: Cloud, faults: FaultControl) -> None:
    faults({"point": "arm.request", "key": f"DELETE *winvhd-{work}*", "times": None, "fault": {"code": "ScopeLocked", "status": 409}})
    done = invoke("purge", work)
    assert done.exit_code == CloudError.exit_code
    assert f"still there: resource group winvhd-{work}" in done.stdout
    assert "hint: " in done.stderr
    assert work not in container_names(cloud)
    assert [found.scope for found in private_work(cloud) if found.scope == work] == [work]
    faults()
    assert invoke("purge", work).exit_code == 0
    assert_gone(cloud, work)


def invoke(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"}).invoke(app, ["private", *arguments])


def test_private_work_is_listed_and_purged_by_name(work: str, cloud: Cloud) -> None:
    (row,) = [line for line in invoke("list").stdout.splitlines() if line.startswith(work)]
    assert row.split() == [work, "in", "6", "d", "23", "h", "1", "0", "1", "0", "1"]
    done = invoke("purge", work)
    assert done.exit_code == 0
    assert f"{work}: deleted container {work}, resource group winvhd-{work}, folder " in done.stdout
    assert_gone(cloud, work)


@pytest.mark.parametrize("name", [BUILDS_CONTAINER, "public", "private-nothing"])
def test_nothing_but_private_work_can_be_purged(name: str, fixable: str, cloud: Cloud) -> None:
    before = container_names(cloud)
    done = invoke("purge", name)
    assert done.exit_code == 6
    assert "there is no private work called" in done.stderr
    assert container_names(cloud) == before >= {BUILDS_CONTAINER}


def test_a_container_of_others_is_neither_deleted_nor_marked(fixable: str, cloud: Cloud) -> None:
    with pytest.raises(PrivateImageError):
        delete_private_container(cloud, BUILDS_CONTAINER)
    with pytest.raises(PrivateImageError):
        open_private_container(cloud, BUILDS_CONTAINER, datetime.now(UTC))
    assert BUILDS_CONTAINER in container_names(cloud)


@pytest.mark.parametrize("arguments", [["purge"], ["purge", "private-x", "--all"], ["validate", "windows-2022"]])
def test_wrong_usage_is_2(arguments: list[str]) -> None:
    assert invoke(*arguments).exit_code == 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"--sha256": "0123"}, "sha256"),
        ({"--argument": "/secret-switch"}, "takes no arguments"),
        ({"--source": "No Block"}, "block"),
    ],
)
def test_what_was_typed_wrong_is_told_at_once_and_not_repeated(changes: dict[str, str], words: str, fixable: str) -> None:
    options = {"--source": "b", "--sha256": "0" * 64, "--kind": "msu"} | changes
    done = invoke("validate", fixable, *(word for option in options.items() for word in option))
    assert done.exit_code == PrivateValidationError.exit_code
    assert words in done.stderr
    assert "secret-switch" not in done.stderr
    assert "Traceback" not in done.stderr


def test_an_image_with_private_packages_expires_and_is_purged_like_a_fix(define: Callable[..., str], cloud: Cloud) -> None:
    from images.loading import load_definition
    from tests.private_fixes import keep_package

    package = keep_package("20348.5516/fixed.zip")
    path = define(**layered("packed", private_packages=[package]))
    scope = scope_of(load_definition(Path(path)))
    attempt = run(build_image, image=path)
    (found,) = [work for work in private_work(cloud) if work.scope == scope]
    assert found.expires_at is not None
    assert timedelta(days=29, hours=23) < found.expires_at - datetime.now(UTC) <= timedelta(days=30)
    assert found.folders == (attempt.result["folder"],)
    assert found.checkpoints == len(LAYERS)
    assert f"{attempt.result['build_id']}/release-notes.txt" in blob_names(cloud, scope)
    assert attempt.result["build_id"] not in str(blob_names(cloud, BUILDS_CONTAINER))
    assert attempt.result["image_version"] not in str(artifacts_of(attempt.flow_run_id)["packed-release-notes"].data)
    assert purge_scope(cloud, scope, lambda _: None).problems == ()
    assert not Path(attempt.result["folder"]).exists()
    assert_gone(cloud, scope)


def test_a_kind_without_arguments_is_refused_by_the_flow_without_repeating_them(fixable: str) -> None:
    attempt = validate(fixable, keep_fix("20348.5510/fixed.msu"), arguments=["/secret-switch"])
    with pytest.raises(BuildError, match="takes no arguments") as caught:
        attempt.state.result()
    assert "secret-switch" not in f"{caught.value} {attempt.state.message}"
