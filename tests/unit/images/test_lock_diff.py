"""Two locks differ in what moved, what came and what went; other bytes under an unchanged URL are an alarm until a person accepts them."""

from __future__ import annotations

from typing import Any

import pytest

from images.lock import ImageLock, LockedFile, LockedUpdate
from images.lock_acceptance import with_acceptance
from images.lock_diff import ChangeKind, LockDifference, LockEntry, compare_locks, render_lines
from tests.unit.images.samples import lock_of, rich_definition, sha256

OLD = lock_of(rich_definition())
URL = OLD.files[0].url
OTHER = sha256("other bytes")


def _with(lock: ImageLock = OLD, **changes: Any) -> ImageLock:
    return lock.model_copy(update=changes)


def _other_bytes(lock: ImageLock = OLD, digest: str = OTHER) -> ImageLock:
    return _with(lock, files=(lock.files[0].model_copy(update={"sha256": digest, "size_bytes": 7}), *lock.files[1:]))


def _moved_tag(reference: str) -> ImageLock:
    images = tuple(
        image.model_copy(update={"digest": f"sha256:{OTHER}", "os_version": "10.0.20348.5600"}) if image.reference == reference else image
        for image in OLD.container_images
    )
    return _with(container_images=images)


def _only(difference: LockDifference) -> tuple[ChangeKind, LockEntry, str]:
    (change,) = difference.changes
    return change.kind, change.entry, change.name


def test_the_same_lock_twice_is_no_difference() -> None:
    difference = compare_locks(OLD, OLD)
    assert not difference
    assert (difference.changes, difference.alarms, render_lines(difference)) == ((), (), ())


def test_a_base_that_moved_shows_both_versions() -> None:
    difference = compare_locks(OLD, _with(base_version="20348.5600.260908"))
    assert _only(difference) == (ChangeKind.MOVED, LockEntry.BASE, "version")
    assert render_lines(difference) == ("~ base            version  20348.5499.260809 -> 20348.5600.260908",)
    assert not difference.alarms


def test_a_new_cumulative_update_takes_the_place_of_the_old_one() -> None:
    old = _with(updates=(LockedUpdate(kb="KB5120242", build="20348.5499", file=OLD.files[1]),))
    file = LockedFile(url="https://updates.example/kb5130000.msu", sha256=OTHER, size_bytes=1234567)
    difference = compare_locks(old, _with(updates=(LockedUpdate(kb="KB5130000", build="20348.5600", file=file, preview=True),)))
    assert render_lines(difference) == (
        "+ update          KB5130000  20348.5600, preview",
        "- update          KB5120242  20348.5499",
        f"+ file            {file.url}  {OTHER[:12]}, 1,234,567 bytes",
    )
    assert not difference.alarms


def test_an_update_that_became_a_preview_moved() -> None:
    old, new = (_with(updates=(LockedUpdate(kb="KB5120242", preview=preview),)) for preview in (False, True))
    assert _only(compare_locks(old, new)) == (ChangeKind.MOVED, LockEntry.UPDATE, "KB5120242")


def test_other_bytes_under_an_unchanged_url_are_an_alarm_with_both_whole_hashes() -> None:
    difference = compare_locks(OLD, _other_bytes())
    assert _only(difference) == (ChangeKind.UPSTREAM_CHANGED, LockEntry.FILE, URL)
    assert difference.alarms == difference.changes == difference.of(ChangeKind.UPSTREAM_CHANGED)
    (line,) = render_lines(difference)
    for word in ("!", URL, "NOT ACCEPTED", OTHER, OLD.files[0].sha256):
        assert word in line


def test_the_file_of_an_update_is_watched_too() -> None:
    first = OLD.updates[0]
    assert first.file is not None
    changed = first.model_copy(update={"file": first.file.model_copy(update={"sha256": OTHER})})
    difference = compare_locks(OLD, _with(updates=(changed, *OLD.updates[1:])))
    assert [change.name for change in difference.alarms] == [first.file.url]


def test_a_file_of_another_url_is_one_that_came_and_one_that_went() -> None:
    moved = OLD.files[0].model_copy(update={"url": "https://files.example/containerd-v1.7.21.tar.gz", "sha256": OTHER})
    difference = compare_locks(OLD, _with(files=(moved, *OLD.files[1:])))
    assert [(change.kind, change.name) for change in difference.changes] == [(ChangeKind.ADDED, moved.url), (ChangeKind.REMOVED, URL)]
    assert not difference.alarms


def test_an_entry_without_a_hash_that_gets_one_moved() -> None:
    unresolved = _other_bytes(digest="unresolved")
    assert _only(compare_locks(unresolved, OLD))[0] is ChangeKind.MOVED
    assert with_acceptance(unresolved, OLD) == OLD


@pytest.mark.parametrize(
    ("reference", "remark"),
    [("registry.example/windows/nanoserver:ltsc2022", ""), ("registry.example/windows/nanoserver:10.0.20348.5499", "exact version")],
)
def test_a_tag_may_move_and_one_of_an_exact_version_is_remarked_on(reference: str, remark: str) -> None:
    images = (OLD.container_images[0].model_copy(update={"reference": reference}),)
    old = _with(container_images=images)
    difference = compare_locks(old, _with(container_images=(images[0].model_copy(update={"digest": f"sha256:{OTHER}"}),)))
    assert _only(difference) == (ChangeKind.MOVED, LockEntry.CONTAINER_IMAGE, reference)
    assert not difference.alarms
    (change,) = difference.changes
    assert bool(change.remark) is bool(remark)
    assert remark in change.remark
    assert change.remark in render_lines(difference)[0]


def test_a_moved_tag_shows_digests_and_windows_versions() -> None:
    reference = "registry.example/windows/nanoserver:ltsc2022"
    (line,) = render_lines(compare_locks(OLD, _moved_tag(reference)))
    assert line.startswith(f"~ container image {reference}  ")
    assert f"10.0.20348.5600, {OTHER[:12]}" in line


def test_a_moved_artifact_is_no_alarm() -> None:
    artifact = OLD.oci_artifacts[0].model_copy(update={"digest": f"sha256:{OTHER}"})
    difference = compare_locks(OLD, _with(oci_artifacts=(artifact,)))
    assert _only(difference) == (ChangeKind.MOVED, LockEntry.OCI_ARTIFACT, artifact.reference)
    assert not difference.alarms


def test_another_definition_with_the_same_pins_is_a_difference() -> None:
    difference = compare_locks(OLD, _with(definition_sha256="0" * 64))
    assert difference
    assert not difference.changes
    assert "the definition changed" in render_lines(difference)[0]


def test_without_a_lock_everything_is_new_and_summed_up() -> None:
    difference = compare_locks(None, OLD)
    assert difference.first
    assert difference.definition_changed
    assert {change.kind for change in difference.changes} == {ChangeKind.ADDED}
    lines = render_lines(difference)
    assert len(lines) < len(difference.changes)
    assert "+ base            version  20348.5499.260809" in lines
    size = sum(len(url) for url in [*(file.url for file in OLD.files), *(update.file.url for update in OLD.updates if update.file)])
    assert f"+ file            {len(OLD.files) + len(OLD.updates)}, together {size:,} bytes" in lines


def test_the_difference_as_json_comes_back_whole() -> None:
    difference = compare_locks(OLD, _other_bytes(_moved_tag("registry.example/pause:3.10")))
    assert LockDifference.model_validate_json(difference.model_dump_json()) == difference


class TestAcceptance:
    """A person accepts new bytes by their hash, and the lock shows it from then on."""

    def test_an_accepted_change_is_no_alarm_and_stands_in_the_lock(self) -> None:
        new = with_acceptance(OLD, _other_bytes(), {OTHER})
        assert new.files[0].replaces == OLD.files[0].sha256
        difference = compare_locks(OLD, new)
        assert _only(difference)[0] is ChangeKind.UPSTREAM_CHANGED
        assert not difference.alarms
        assert "a person accepted it" in render_lines(difference)[0]

    def test_another_hash_accepts_nothing(self) -> None:
        new = with_acceptance(OLD, _other_bytes(), {OLD.files[0].sha256, "f" * 64})
        assert new == _other_bytes()
        assert compare_locks(OLD, new).alarms

    def test_the_mark_stays_while_the_bytes_stay(self) -> None:
        accepted = with_acceptance(OLD, _other_bytes(), {OTHER})
        again = with_acceptance(accepted, _other_bytes())
        assert again == accepted
        assert not compare_locks(accepted, again)

    def test_bytes_that_change_once_more_need_a_person_once_more(self) -> None:
        accepted = with_acceptance(OLD, _other_bytes(), {OTHER})
        again = with_acceptance(accepted, _other_bytes(digest=sha256("third")))
        assert compare_locks(accepted, again).alarms
        back = with_acceptance(accepted, OLD)
        assert compare_locks(accepted, back).alarms

    def test_the_file_of_an_update_is_accepted_in_the_same_way(self) -> None:
        first = OLD.updates[0]
        assert first.file is not None
        changed = first.model_copy(update={"file": first.file.model_copy(update={"sha256": OTHER})})
        new = with_acceptance(OLD, _with(updates=(changed, *OLD.updates[1:])), {OTHER})
        assert new.updates[0].file is not None
        assert new.updates[0].file.replaces == first.file.sha256
        assert not compare_locks(OLD, new).alarms

    def test_new_files_carry_no_mark(self) -> None:
        assert with_acceptance(None, OLD, {OLD.files[0].sha256}) == OLD
