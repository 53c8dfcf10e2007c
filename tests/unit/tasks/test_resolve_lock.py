"""Only a whole, public lock of this very definition lets a real build begin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from images.errors import ConfigurationError, UnresolvedLockError
from images.lock import LockedContainerImage, LockedOciArtifact, LockOrigin
from tasks.lock_file import lock_path, usable_public_lock, write_lock
from tests.unit.images.samples import lock_of, rich_definition

DEFINITION = rich_definition()


def _refusal(path: Path) -> UnresolvedLockError:
    with pytest.raises(UnresolvedLockError) as caught:
        usable_public_lock(DEFINITION, path)
    assert "winvhd lock sample --profile azure" in caught.value.hint
    assert caught.value.where == str(path)
    return caught.value


def _written(folder: Path, **changes: Any) -> Path:
    path = folder / "locks" / "sample.lock.yaml"
    write_lock(lock_of(DEFINITION, **{"origin": LockOrigin.PUBLIC, **changes}), path)
    return path


def test_a_whole_public_lock_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = _written(tmp_path)
    assert usable_public_lock(DEFINITION, path) == lock_of(DEFINITION, origin=LockOrigin.PUBLIC)
    assert [file.name for file in path.parent.iterdir()] == ["sample.lock.yaml"]


def test_a_new_lock_replaces_the_old_one(tmp_path: Path) -> None:
    _written(tmp_path, base_version="20348.1.1")
    assert usable_public_lock(DEFINITION, _written(tmp_path)).base_version == "20348.5499.260809"


def test_no_lock_is_refused(tmp_path: Path) -> None:
    assert "has no lock" in _refusal(tmp_path / "sample.lock.yaml").what


def test_a_lock_of_the_stand_in_is_refused(tmp_path: Path) -> None:
    assert "scaled-down" in _refusal(_written(tmp_path, origin=LockOrigin.STAND_IN)).what


def test_a_lock_of_another_definition_is_refused(tmp_path: Path) -> None:
    assert "has changed" in _refusal(_written(tmp_path, definition_sha256="0" * 64)).what


@pytest.mark.parametrize("content", [b"", b"{", b"- 1", b"schema_version: 2", b"\xff\xfe\x00", b"a: !!python/object:os.system {}"])
def test_a_file_that_is_no_lock_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "sample.lock.yaml"
    path.write_bytes(content)
    assert "not a lock" in _refusal(path).what


def _unresolved(field: str) -> tuple[Any, str]:
    entries = list(getattr(lock_of(DEFINITION), field))
    first = entries[0]
    if field == "updates":
        entries[0] = first.model_copy(update={"file": first.file.model_copy(update={"sha256": "unresolved"})})
        return tuple(entries), first.file.url
    if isinstance(first, LockedContainerImage | LockedOciArtifact):
        entries[0] = first.model_copy(update={"digest": "unresolved"})
        return tuple(entries), first.reference
    entries[0] = first.model_copy(update={"sha256": "unresolved"})
    return tuple(entries), first.url


@pytest.mark.parametrize("field", ["files", "updates", "container_images", "oci_artifacts"])
def test_a_lock_with_an_entry_without_hash_is_refused_and_the_entry_named(tmp_path: Path, field: str) -> None:
    entries, name = _unresolved(field)
    assert _refusal(_written(tmp_path, **{field: entries})).what == f"1 entries have no hash yet, first {name}"


def test_public_locks_lie_beside_their_definition_and_others_below_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINVHD_OUT", str(tmp_path))
    assert lock_path(tmp_path / "d" / "img.yaml", LockOrigin.PUBLIC) == tmp_path / "d" / "img.lock.yaml"
    assert lock_path(tmp_path / "d" / "img.yaml", LockOrigin.STAND_IN) == tmp_path / "locks" / "img.lock.yaml"


def test_a_lock_that_can_not_be_opened_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "sample.lock.yaml"
    path.mkdir()
    with pytest.raises(ConfigurationError, match="can not be read") as caught:
        usable_public_lock(DEFINITION, path)
    assert caught.value.hint


def test_a_lock_that_can_not_be_written_is_explained_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "sample.lock.yaml"
    path.mkdir()
    with pytest.raises(ConfigurationError, match="can not be written") as caught:
        write_lock(lock_of(DEFINITION), path)
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == [path]
