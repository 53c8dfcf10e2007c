"""Private fixes that go wrong: each ends with a text that says what to do and names nothing private, and leaves no machine behind."""

from __future__ import annotations

import io
import os
import signal
import time
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import BlobLeaseClient
from prefect.blocks.system import Secret

from flows.validate_private_fix import validate_private_fix
from images.errors import BuildError, ConfigurationError, PrivateValidationError
from infra.azure.session import Cloud
from infra.checkout import output_folder
from infra.local.origin.private_fixes import fix_url
from infra.prefect.private_fix_source import PrivateFixSource
from infra.private_folders import private_folders
from tasks.progress import StepEvent
from tasks.purge_private import private_work, purge_scope
from tests.flow_attempt import Attempt, Moment, attempt, in_a_process, new_run, once, retry
from tests.private_fixes import FIRST_BOOT, NETWORKING, blob_names, container_names, groups_in, keep_fix, scope_of_run, validate
from tests.standin_fixtures import FaultControl
from tests.unit.fetch.serving import Answer, Server, serving

SAS = "sp=r&sr=b&se={ends:%Y-%m-%dT%H:%M:%SZ}&sig=canarysignature%3D"


@pytest.fixture
def storage() -> Iterator[Server]:
    """Somebody's storage account."""
    with serving() as running:
        yield running


def sas(**changes: Any) -> str:
    return SAS.format(ends=datetime.now(UTC) + timedelta(**(changes or {"hours": 6})))


def served(storage: Server, file: str, body: bytes, **answer: Any) -> dict[str, Any]:
    """A fix of a test's own making behind a SAS, as the parameters of a validation."""
    url = storage.on(f"/canaryfolder/{file}", Answer(body, **answer))
    return keep_fix(file, f"{url}?{sas()}", body)


def failure_of(attempt: Attempt) -> BuildError:
    """What ended a validation."""
    with pytest.raises(BuildError) as caught:
        attempt.state.result()
    return caught.value


def assert_nothing_private(attempt: Attempt, *more: str) -> None:
    """Neither the run's state nor its error tells where the fix came from."""
    error = failure_of(attempt)
    said = f"{error} {error!r} {error.__cause__!r} {attempt.state.message}"
    for word in ("canary", "privatefixes", "sig=", *more):
        assert word not in said, said


def assert_no_machine_left(cloud: Cloud, attempt: Attempt) -> None:
    scope = scope_of_run(attempt)
    assert [group for group in groups_in(cloud, scope) if "checkpoints" not in group] == []
    digits = scope.removeprefix("private-")
    assert [path.name for path in output_folder().iterdir() if digits in path.name] == []


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"https://x.example.com/canary.msu?{sas(hours=-1)}", "its SAS expired at"),
        (f"https://x.example.com/canary.msu?{sas(days=30)}", "good for more than 7 days"),
        (f"https://x.example.com/canary.msu?{sas()}".replace("sp=r", "sp=rwd"), "allows something else than reading"),
        (f"https://x.example.com/canary?{sas()}".replace("sr=b", "sr=c"), "opens more than one blob"),
        ("https://x.example.com/canary.msu", "not a URL with a SAS"),
    ],
    ids=["expired", "too long", "may write", "whole container", "no SAS"],
)
def test_an_address_that_can_not_be_used_ends_the_run_before_anything_is_made(url: str, words: str, fixable: str, cloud: Cloud) -> None:
    before = container_names(cloud)
    attempt = validate(fixable, keep_fix("20348.5510/fixed.msu", url))
    error = failure_of(attempt)
    assert isinstance(error, ConfigurationError)
    assert words in error.what
    assert "SAS" in error.hint
    assert_nothing_private(attempt, "canary")
    assert container_names(cloud) == before


def test_no_other_secret_can_be_named(fixable: str, cloud: Cloud) -> None:
    Secret(value=f"https://x.example.com/canary?{sas()}").save("not-a-source", overwrite=True, _sync=True)  # type: ignore[call-arg]
    before = container_names(cloud)
    for name in ("not-a-source", "not-there"):
        attempt = validate(fixable, {"source": name, "sha256": "0" * 64, "kind": "msu"})
        error = failure_of(attempt)
        assert isinstance(error, ConfigurationError)
        assert f"there is no PrivateFixSource block called '{name}'" in error.what
        assert "Private fix source" in error.hint
        assert_nothing_private(attempt)
    assert container_names(cloud) == before


def malformed_zip() -> bytes:
    return b"PK\x03\x04 canary: the rest never came"


def zip_outside_of_c() -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("../canary.sys", b"x")
    return target.getvalue()


@pytest.mark.parametrize(
    ("file", "body", "code"), [("broken.zip", malformed_zip(), "bad-fix"), ("outside.zip", zip_outside_of_c(), "bad-fix")]
)
def test_a_zip_that_is_none_is_told_as_a_bad_fix(file: str, body: bytes, code: str, fixable: str, storage: Server, cloud: Cloud) -> None:
    attempt = validate(fixable, served(storage, file, body), suites=[FIRST_BOOT])
    assert_told(attempt, code, "Windows/System32/drivers/x.sys")
    assert_no_machine_left(cloud, attempt)


@pytest.mark.parametrize(
    ("path", "changes", "code", "hint"),
    [
        ("20348.5520/fixed.msu", {"sha256": "ab" * 32}, "hash-mismatch", "sha256 of the very file"),
        ("20348.5521/rolled-back.msu", {}, "fix-rolled-back", "0x800f0922"),
        ("20348.5522/installer-fails.cab", {}, "fix-failed", "0x800f0922"),
        ("26100.5000/fixed.msu", {}, "wrong-windows", "for the build of this image"),
    ],
)
def test_a_fix_that_windows_does_not_take_is_told_with_what_to_do(
    path: str, changes: dict[str, Any], code: str, hint: str, fixable: str, cloud: Cloud
) -> None:
    attempt = validate(fixable, keep_fix(path) | changes, suites=[FIRST_BOOT])
    assert_told(attempt, code, hint)
    assert_nothing_private(attempt, path, path.rpartition("/")[2], "KB99")
    assert_no_machine_left(cloud, attempt)
    # What it was is for who may see it: in the container, until that expires.
    assert any(name.endswith("/build-log.txt") for name in blob_names(cloud, scope_of_run(attempt)))


def assert_told(attempt: Attempt, code: str, hint: str) -> None:
    error = failure_of(attempt)
    assert isinstance(error, PrivateValidationError), repr(error)
    assert error.what.startswith("the patched image could not be built: a stage failed: ")
    assert error.what.endswith(code)
    assert hint in error.hint
    assert scope_of_run(attempt) in error.kept
    assert_nothing_private(attempt)


@pytest.mark.parametrize(
    ("path", "code", "without_the_proof", "reason"),
    [
        ("20348.5523/fixed.zip", "testsigning-lost", "regression", "Windows started without test signing"),
        ("20348.5524/fixed.zip", "file-reverted", "still fails", "1 of 1 replaced files is not in place"),
    ],
)
def test_a_fix_that_generalize_undoes_gets_no_verdict(
    path: str, code: str, without_the_proof: str, reason: str, fixable: str, cloud: Cloud, faults: FaultControl
) -> None:
    faults({"point": "guest.sysprep", "key": "*patched*", "fault": {"code": code}})
    attempt = validate(fixable, keep_fix(path), suites=[NETWORKING])
    assert faults.struck() == {f"guest.sysprep {code}": 1}
    assert (attempt.state.name, attempt.result["verdict"], attempt.result["in_effect"]) == ("Inconclusive", "inconclusive", False)
    assert attempt.result["reasons"][0] == f"The fix was not in effect on the VM that was tested: {reason}."
    # What the suites alone would have made of it.
    assert attempt.result["counts"][without_the_proof] >= 1
    assert "vfpext" not in str(attempt.result)
    assert_no_machine_left(cloud, attempt)


@pytest.mark.parametrize(("name", "arguments", "suite"), [("fixed.exe", ["/quiet"], FIRST_BOOT), ("fixed.zip", [], NETWORKING)])
def test_a_switch_that_specialize_resets_gets_no_verdict(fixable: str, name: str, arguments: list[str], suite: str) -> None:
    # Each machine that is made from an image gets an install date of its own.
    reset = {"path": r"HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion", "name": "InstallDate", "value": 5}
    attempt = validate(fixable, keep_fix(f"20348.5526/{name}"), registry=[reset], arguments=arguments, suites=[suite])
    assert (attempt.result["verdict"], attempt.result["in_effect"]) == ("inconclusive", False)
    lost = "1 of 1 registry values that switch it on is not set any more"
    assert attempt.result["reasons"][0] == f"The fix was not in effect on the VM that was tested: {lost}."
    assert "InstallDate" not in str(attempt.result)


def test_a_build_that_resumes_after_the_layer_of_the_fix_proves_it_all_the_same(fixable: str, cloud: Cloud) -> None:
    def fail(event: StepEvent) -> None:
        if event.image == "patched" and Moment("start", "Clean-up").is_now(event):
            raise LookupError("a fault of the program")

    flow_run_id = new_run(validate_private_fix, image=fixable, suites=[NETWORKING], **keep_fix("20348.5525/fixed.zip"))
    assert failure_of(attempt(validate_private_fix, flow_run_id, fail)).what.endswith("a fault of the program")
    retry(flow_run_id)
    resumed = attempt(validate_private_fix, flow_run_id)
    patched = resumed.result["sides"]["patched"]
    assert ("fix" in patched["layers_reused"], patched["layers_built"]) == (True, ["finish"])
    assert (resumed.result["verdict"], resumed.result["in_effect"]) == ("fixed", True)
    assert_no_machine_left(cloud, resumed)


def test_a_sas_that_is_revoked_while_the_image_is_built(fixable: str, storage: Server, cloud: Cloud) -> None:
    fix = served(storage, "revoked.msu", b"", status=403)
    attempt = validate(fixable, fix, suites=[FIRST_BOOT])
    assert_told(attempt, "download-refused", "make a new SAS")
    assert_no_machine_left(cloud, attempt)


def test_trouble_of_the_cloud_is_told_by_its_kind_alone(fixable: str, cloud: Cloud, faults: FaultControl) -> None:
    faults({"point": "arm.vm.allocate", "times": None, "fault": {"code": "AllocationFailed", "status": 409, "message": "canary"}})
    attempt = validate(fixable, keep_fix("20348.5510/fixed.msu"), suites=[FIRST_BOOT])
    error = failure_of(attempt)
    assert isinstance(error, PrivateValidationError)
    assert "no VM could be allocated" in error.what
    assert "build-log.txt" in error.hint
    assert_nothing_private(attempt)
    assert_no_machine_left(cloud, attempt)


def test_a_fault_of_the_program_tells_nothing_of_the_fix(fixable: str, cloud: Cloud) -> None:
    def fail(event: object) -> None:
        if str(getattr(event, "step", "")).startswith("Private fix"):
            raise LookupError(fix_url("20348.5510/fixed.msu"))

    attempt = validate(fixable, keep_fix("20348.5510/fixed.msu"), fail, suites=[FIRST_BOOT])
    error = failure_of(attempt)
    assert error.what == "the patched image could not be built: a fault of the program"
    assert_nothing_private(attempt)
    assert_no_machine_left(cloud, attempt)
    scope = scope_of_run(attempt)
    (log,) = [name for name in blob_names(cloud, scope) if name.startswith("patched-") and name.endswith("build-log.txt")]
    text = cloud.blobs().get_blob_client(scope, log).download_blob().readall().decode()
    assert "LookupError: [redacted]" in text
    assert "privatefixes" not in text


def test_details_that_the_cloud_does_not_take_stay_on_the_workers_machine(fixable: str, cloud: Cloud) -> None:
    flow_run_id = new_run(validate_private_fix, image=fixable, suites=[FIRST_BOOT], **keep_fix("20348.5510/fixed.msu"))
    scope = f"private-{flow_run_id.hex[:12]}"
    log = cloud.blobs().get_blob_client(scope, f"patched-{scope[8:]}/build-log.txt")

    def fail() -> None:
        # Somebody else holds the blob that the log would go to.
        log.upload_blob(b"")
        log.acquire_lease(-1)
        raise LookupError("a fault of the program")

    with log:
        ended = attempt(validate_private_fix, flow_run_id, once(Moment("start", "Private fix"), fail))
        BlobLeaseClient(log).break_lease(lease_break_period=0)
    error = failure_of(ended)
    folder = output_folder() / f"patched-{scope[8:]}"
    assert f"{folder} on the worker's machine" in error.kept
    assert str(folder) in error.hint
    assert "LookupError: a fault of the program" in (folder / "build-log.txt").read_text(encoding="utf-8")
    # The reaper knows whose it is and when it goes.
    assert [(kept.path, kept.scope) for kept in private_folders(output_folder()) if kept.scope == scope] == [(folder, scope)]
    assert_nothing_private(ended)
    assert purge_scope(cloud, scope, lambda _: None).problems == ()
    assert not folder.exists()


def test_a_terminated_run_leaves_no_machine_and_no_folder(fixable: str, cloud: Cloud) -> None:
    flow_run_id = new_run(validate_private_fix, image=fixable, suites=[FIRST_BOOT], **keep_fix("20348.5510/fixed.msu"))
    scope = f"private-{flow_run_id.hex[:12]}"
    with in_a_process(validate_private_fix, flow_run_id) as running:
        running.wait_for(Moment("start", "Private fix"))
        assert len(groups_in(cloud, scope)) >= 2
        os.kill(running.process.pid, signal.SIGTERM)
        running.end()
    ends_at = time.monotonic() + 60
    while left := [group for group in groups_in(cloud, scope) if "checkpoints" not in group]:
        assert time.monotonic() < ends_at, left
        time.sleep(0.2)
    assert [path.name for path in output_folder().iterdir() if flow_run_id.hex[:12] in path.name] == []


def test_the_folders_of_a_killed_run_are_found_by_the_purge(fixable: str, cloud: Cloud) -> None:
    flow_run_id = new_run(validate_private_fix, image=fixable, suites=[FIRST_BOOT], **keep_fix("20348.5510/fixed.msu"))
    scope = f"private-{flow_run_id.hex[:12]}"
    with in_a_process(validate_private_fix, flow_run_id, Moment("start", "Private fix")) as running:
        assert running.end()[0] == -signal.SIGKILL
    (found,) = [work for work in private_work(cloud) if work.scope == scope]
    # How far the other side was by then is a matter of chance: its folder goes when it is done.
    folders = {Path(folder).name for folder in found.folders}
    assert {f"patched-{scope[8:]}"} <= folders <= {f"{side}-{scope[8:]}" for side in ("baseline", "patched")}
    assert f"winvhd-patched-{scope[8:]}" in found.groups
    assert f"patched-{scope[8:]}" in found.running
    assert purge_scope(cloud, scope, lambda _: None).problems == ()
    assert [path.name for path in output_folder().iterdir() if scope[8:] in path.name] == []
    assert groups_in(cloud, scope) == set()
    assert scope not in container_names(cloud)


def test_a_block_shows_its_address_to_nobody() -> None:
    block = PrivateFixSource.load(keep_fix("20348.5510/fixed.msu")["source"], _sync=True)  # type: ignore[call-arg]
    assert isinstance(block, PrivateFixSource)
    assert "privatefixes" not in f"{block} {block!r} {block.model_dump_json()}"
