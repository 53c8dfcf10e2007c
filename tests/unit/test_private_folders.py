"""Folders with private work are found by their mark alone, and go with all that is in them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from images.errors import ConfigurationError
from infra.private_folders import PrivateFolder, delete_folder, mark_folder, private_folders

NOW = datetime(2026, 9, 9, 12, tzinfo=UTC)


def test_marked_folders_are_found_and_others_are_not(tmp_path: Path) -> None:
    for name in ("patched-1", "windows-2022-2", "private-looking"):
        (tmp_path / name).mkdir()
    mark_folder(tmp_path / "patched-1", "private-1", NOW)
    assert private_folders(tmp_path) == [PrivateFolder(tmp_path / "patched-1", "private-1", NOW)]
    # A later build in the same folder moves its expiry.
    mark_folder(tmp_path / "patched-1", "private-1", NOW + timedelta(days=1))
    assert [folder.expires_at for folder in private_folders(tmp_path)] == [NOW + timedelta(days=1)]
    assert private_folders(tmp_path / "not-there") == []


def test_a_mark_that_can_not_be_read_is_left_to_a_person(tmp_path: Path) -> None:
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / ".private").write_text("{}")
    assert private_folders(tmp_path) == []


def test_a_folder_goes_with_everything_in_it_and_with_nothing_it_points_to(tmp_path: Path) -> None:
    folder, other = tmp_path / "patched", tmp_path / "other"
    (folder / "deep" / "er").mkdir(parents=True)
    other.mkdir()
    (other / "kept").touch()
    (folder / "deep" / "er" / "image.vhd").write_bytes(b"x")
    (folder / "log.txt").touch()
    (folder / "link").symlink_to(other)
    mark_folder(folder, "private-1", NOW)
    delete_folder(folder)
    assert not folder.exists()
    assert (other / "kept").exists()
    delete_folder(folder)


def test_what_can_not_be_written_or_deleted_is_told_with_the_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="not-there"):
        mark_folder(tmp_path / "not-there", "private-1", NOW)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="could not delete") as caught:
        delete_folder(tmp_path / "file")
    assert "private work is in it" in caught.value.hint
