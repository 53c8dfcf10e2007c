"""What a month's row says of an image that was built, was there, or failed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from images.errors import StageError
from images.lock import ImageLock, LockedUpdate, LockOrigin
from images.lock_diff import compare_locks
from images.updates.update_note import UpdateNote
from tasks.refresh_lock import RefreshedLock
from tasks.show_month import month_row
from tests.unit.images.updates.samples import update

FEED = (
    update("KB5110001", "2026-07-14", "20348.5386", cves=("CVE-2026-1", "CVE-2026-2")),
    update("KB5120242", "2026-08-11", "20348.5499", cves=("CVE-2026-2", "CVE-2026-3")),
)
NOTES = (UpdateNote(kb="KB5110001", text="left out, replaced by KB5120242"),)
RESULT: dict[str, Any] = {
    "image_version": "20348.5499.26081201",
    "os_version": "20348.5499",
    "previous_os_version": "20348.5256",
    "new_kbs": ["KB5110001", "KB5120242"],
    "vhd_url": "https://example.com/image.vhd",
    "unchanged": False,
    "checks_passed": 12,
    "seconds": 131.4 * 60,
}


def lock(*updates: LockedUpdate) -> RefreshedLock:
    new = ImageLock(image="a", origin=LockOrigin.PUBLIC, definition_sha256="0" * 64, base_version="20348.5256.260609", updates=updates)
    return RefreshedLock(None, new, compare_locks(None, new), NOTES, Path("a.lock.yaml"))


AUGUST = lock(LockedUpdate(kb="KB5120242", build="20348.5499"))


def test_a_build_has_all_that_came_since_the_release_before_and_what_it_fixes() -> None:
    row = month_row("a", RESULT, None, AUGUST, FEED)
    assert (row.outcome, row.old_build, row.new_build) == ("built", "20348.5256", "20348.5499")
    # Also what came with a newer base, and was never installed.
    assert row.kbs == ("KB5110001", "KB5120242")
    assert row.cves == ("CVE-2026-1", "CVE-2026-2", "CVE-2026-3")
    assert (row.tests_passed, row.minutes, row.link, row.notes) == (12, 131.4, "https://example.com/image.vhd", NOTES)


def test_a_first_release_has_what_its_build_installed() -> None:
    row = month_row("a", {**RESULT, "previous_os_version": None, "new_kbs": []}, None, AUGUST, FEED)
    assert (row.old_build, row.kbs, row.cves) == ("", ("KB5120242",), ("CVE-2026-2", "CVE-2026-3"))


def test_a_rebuild_for_another_reason_has_no_kbs_although_its_lock_has() -> None:
    row = month_row("a", {**RESULT, "previous_os_version": "20348.5499", "new_kbs": []}, None, AUGUST, FEED)
    assert (row.outcome, row.kbs, row.cves) == ("built", (), ())


def test_an_image_that_was_there_gained_nothing() -> None:
    # Its record may be of an older version of this program, which did not note what came.
    record = {key: value for key, value in RESULT.items() if key not in ("new_kbs", "previous_os_version")}
    row = month_row("a", {**record, "unchanged": True}, None, AUGUST, FEED)
    assert (row.outcome, row.old_build, row.new_build, row.kbs, row.cves) == ("unchanged", "", "20348.5499", (), ())


@pytest.mark.parametrize("unchanged", [False, True])
def test_a_preview_in_the_lock_marks_the_image(unchanged: bool) -> None:
    preview = lock(LockedUpdate(kb="KB5120300", build="20348.5538", preview=True))
    row = month_row("a", {**RESULT, "unchanged": unchanged}, None, preview, FEED)
    assert row.previews == ("KB5120300",)


def test_a_failure_has_its_reason_before_the_notes() -> None:
    error = StageError("KB5120242: exit code 1\nand more", stage="install-update", code="update-failed")
    row = month_row("a", None, error, AUGUST, FEED)
    assert (row.outcome, row.failure, row.notes) == ("failed", "KB5120242: exit code 1", NOTES)
    # One that could not even be locked has no notes of its own.
    assert month_row("a", None, error, None, FEED).notes == ()
