"""A guest that runs full, hangs, or does not come back stops a build soon, with what helps to find out why."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.build_image import build_image
from flows.choices import ImageChoice
from images.errors import CaptureError, GuestLinkError, StageError
from images.inventory import Inventory
from infra.azure.profile import CloudProfile
from infra.checkout import output_folder
from tasks.progress import StepEvent, listening
from tests.faults.conftest import bare
from tests.standin_fixtures import FaultControl

Define = Callable[..., str]
Groups = Callable[[str], list[str]]


def test_a_full_disk_stops_the_build_at_once(define: Define, profile: CloudProfile, faults: FaultControl, groups_of: Groups) -> None:
    faults({"point": "guest.stage", "key": "Save-CachedFile.ps1 *", "fault": {"code": "disk-full"}, "times": None})
    with pytest.raises(StageError) as caught:
        build_image(ImageChoice(define(**bare("full"))), "local", "")
    assert (caught.value.stage, caught.value.code) == ("save-cached-file", "disk-full")
    assert "os_disk_gib" in caught.value.hint
    # The guest's input held a SAS; what the error says does not.
    assert "sig=" not in str(caught.value) + caught.value.stderr_tail
    assert faults.struck() == {"guest.stage disk-full": 1}
    assert groups_of("full") == []


def test_a_feature_that_windows_does_not_have_is_named(
    define: Define, profile: CloudProfile, faults: FaultControl, groups_of: Groups
) -> None:
    faults({"point": "guest.stage", "key": "Install-NodeFeature.ps1 *", "fault": {"code": "unknown-feature"}})
    with pytest.raises(StageError) as caught:
        build_image(ImageChoice(define(**bare("featureless", features=["Containers"]))), "local", "")
    assert (caught.value.stage, caught.value.code) == ("install-feature", "unknown-feature")
    assert caught.value.hint
    assert groups_of("featureless") == []


def test_a_stuck_sysprep_ends_the_build_and_its_setup_logs_are_kept(
    define: Define, profile: CloudProfile, faults: FaultControl, groups_of: Groups
) -> None:
    faults(profile="sysprep-stuck")
    with pytest.raises(CaptureError, match="sysprep did not finish") as caught:
        build_image(ImageChoice(define(**bare("stuck"))), "local", "")
    assert "setuperr.log" in caught.value.hint
    (log,) = output_folder().glob("stuck-*/sysprep-errors.txt")
    assert str(log) in caught.value.kept
    assert "SYSPRP" in log.read_text()
    # Azure's agents are gone by then: the whole logs come from the stopped disk.
    (logs,) = output_folder().glob("stuck-*/guest-logs-*.txt")
    assert str(logs) in caught.value.kept
    assert r"==> C:\Windows\System32\Sysprep\Panther\setupact.log" in logs.read_text()
    assert (log.parent / "release-notes.txt").exists()
    assert groups_of("stuck") == []


def test_a_guest_that_never_comes_back_ends_the_build_within_the_profiles_limit(
    define: Define, faults: FaultControl, change_profile: Callable[..., None], groups_of: Groups
) -> None:
    change_profile(restart_limit_s=1.5)
    faults({"point": "guest.boot", "key": "*-deaf-*", "skip": 1, "fault": {"code": "never-back"}, "times": None})
    clock = time.monotonic()
    with pytest.raises(GuestLinkError, match=r"did not come back with a new boot within 1\.5 s") as caught:
        build_image(ImageChoice(define(**bare("deaf", features=["Containers"]))), "local", "")
    assert time.monotonic() - clock < 60
    assert "boot diagnostics" in caught.value.hint
    (logs,) = output_folder().glob("deaf-*/guest-logs-*.txt")
    assert str(logs) in caught.value.kept
    assert "==> C:\\" in logs.read_text()
    assert groups_of("deaf") == []


def test_a_silent_guest_ends_the_build_within_the_profiles_limit(
    define: Define, faults: FaultControl, change_profile: Callable[..., None], groups_of: Groups
) -> None:
    change_profile(silence_limit_s=1.0)
    faults({"point": "guest.winrm", "key": "*-silent-*", "skip": 12, "fault": {"code": "dropped"}, "times": None})
    with pytest.raises(GuestLinkError, match="no contact for") as caught:
        build_image(ImageChoice(define(**bare("silent"))), "local", "")
    assert caught.value.hint
    # Its agent still answers.
    (logs,) = output_folder().glob("silent-*/guest-logs-*.txt")
    assert str(logs) in caught.value.kept
    assert "--- setupact.log" in logs.read_text()
    assert groups_of("silent") == []


def test_a_failed_build_does_not_wait_for_its_other_guests(
    define: Define, profile: CloudProfile, faults: FaultControl, groups_of: Groups
) -> None:
    # The VM beside the build says nothing: its thread would ask for silence_limit_s, five minutes, while all that it waits for is deleted.
    silent = {"point": "guest.winrm", "key": "*-impatient-*/plain", "fault": {"code": "dropped"}, "times": None}
    refused = {"point": "guest.stage", "key": "Save-CachedFile.ps1 *", "fault": {"code": "access-denied"}}
    path = define(**bare("impatient", features=["Containers"], e2e_suites=["plain-bootstrap"]))
    faults(silent, refused)

    def hold_the_build_until_the_other_guest_is_asked(event: StepEvent) -> None:
        deadline = time.monotonic() + 60
        while event.kind == "start" and event.step == "Cached files" and not faults.struck()["guest.winrm dropped"]:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    clock = time.monotonic()
    with listening(hold_the_build_until_the_other_guest_is_asked), pytest.raises(StageError, match="access-denied"):
        build_image(ImageChoice(path), "local", "")
    assert time.monotonic() - clock < 60
    assert faults.struck()["guest.winrm dropped"] > 0
    assert groups_of("impatient") == []


def test_a_guest_that_can_not_reach_blob_storage_gets_its_files_over_the_link(
    define: Define, profile: CloudProfile, faults: FaultControl, groups_of: Groups
) -> None:
    faults({"point": "guest.stage", "key": "Save-CachedFile.ps1 *", "fault": {"code": "download-failed"}})
    result = build_image(ImageChoice(define(**bare("unreached"))), "local", "")
    assert faults.struck() == {"guest.stage download-failed": 1}
    timings = json.loads((Path(result["folder"]) / "timings.json").read_text())
    names = [step["name"] for step in timings["steps"]]
    assert "files over the link" in names
    files = Inventory.model_validate_json((Path(result["folder"]) / "inventory.json").read_text()).cached_files
    assert [file.path.rpartition("\\")[2] for file in files] == ["unreached-v1.0.0.tar.gz"]
    assert groups_of("unreached") == []
