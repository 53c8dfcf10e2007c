"""A lock that moved becomes a patch that git applies to the file that is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from images.errors import ConfigurationError
from infra.azure.session import Cloud
from infra.checkout import ROOT
from infra.git.lock_patch import lock_patch
from tasks.lock_change import lock_change
from tasks.lock_file import read_lock
from tests.contract.lock.conftest import LockedImage
from tests.standin_fixtures import SMALL
from tests.unit.git.serving import run_git


def test_a_patch_of_a_moved_lock_gives_the_new_lock(image: LockedImage, tmp_path: Path) -> None:
    first = image.lock()
    image.define(base={**SMALL["base"], "version": "20348.5386.260709"})
    moved = image.refresh()
    change = lock_change(moved)
    assert change.path == f"out/locks/{image.name}.lock.yaml"
    repository = tmp_path / "repository"
    target = repository / change.path
    target.parent.mkdir(parents=True)
    target.write_bytes(first.path.read_bytes())
    run_git(repository, "init", "--quiet")
    patch = repository / ".git" / "locks.patch"
    patch.write_text(lock_patch([change]))
    run_git(repository, "apply", str(patch))
    assert read_lock(target) == moved.new
    text = patch.read_text()
    assert "-base_version: 20348.5499.260809" in text
    assert "+base_version: 20348.5386.260709" in text


def test_a_first_lock_is_a_new_file_and_an_unchanged_one_no_change(image: LockedImage) -> None:
    assert "new file mode 100644" in lock_patch([lock_change(image.refresh())])
    image.lock()
    assert lock_patch([lock_change(image.refresh())]) == ""


def test_a_public_lock_is_named_by_its_place_in_the_repository(image: LockedImage, monkeypatch: pytest.MonkeyPatch) -> None:
    image.cloud = Cloud(image.cloud.profile.model_copy(update={"name": "azure", "source_address": "127.0.0.1"}))
    assert lock_change(image.refresh()).path == f"images/definitions/{image.name}.lock.yaml"
    monkeypatch.setattr("tasks.lock_change.ROOT", image.folder.resolve())
    assert lock_change(image.refresh()).path == f"definitions/{image.name}.lock.yaml"
    assert (ROOT / "images" / "definitions").is_dir()


def test_a_lock_that_can_not_be_read_is_explained(image: LockedImage) -> None:
    refreshed = image.refresh()
    refreshed.path.mkdir(parents=True)
    with pytest.raises(ConfigurationError, match="can not be read") as caught:
        lock_change(refreshed)
    assert caught.value.hint
