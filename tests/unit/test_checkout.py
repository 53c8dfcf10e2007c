"""Working folders follow the environment, and the source of a build never holds credentials."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from images.errors import ConfigurationError
from infra import checkout
from infra.checkout import ROOT, SCRIPTS, build_source, make_folder, output_folder, state_folder


def test_scripts_of_the_guest_are_in_the_checkout() -> None:
    assert (ROOT / "pyproject.toml").is_file()
    assert (SCRIPTS / "WinVhd.psm1").is_file()


def test_folders_are_where_the_environment_says_or_in_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINVHD_STATE", str(tmp_path / "a" / ".." / "state"))
    monkeypatch.setenv("WINVHD_OUT", "")
    assert (state_folder(), output_folder()) == (tmp_path / "state", ROOT / "out")
    monkeypatch.delenv("WINVHD_STATE")
    monkeypatch.setenv("WINVHD_OUT", str(tmp_path))
    assert (state_folder(), output_folder()) == (ROOT / ".winvhd", tmp_path)


def test_a_folder_is_made_with_its_parents_and_left_as_it_is_when_it_is_there(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "a" / "b")
    (folder / "kept").touch()
    assert [file.name for file in make_folder(folder).iterdir()] == ["kept"]


def test_a_folder_that_can_not_be_written_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/winvhd")):
        with pytest.raises(ConfigurationError, match="can not write") as caught:
            make_folder(folder)
        assert "WINVHD_OUT" in caught.value.hint


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit, as if it were the checkout."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(checkout, "ROOT", tmp_path)
    _git(tmp_path, "init", "--quiet", "--initial-branch=work")
    _git(tmp_path, "-c", "user.name=a", "-c", "user.email=a@example", "commit", "--quiet", "--allow-empty", "--message=first")
    return tmp_path


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_source_is_the_commit_and_branch_of_the_checkout(repository: Path) -> None:
    source = build_source()
    assert (source.repository, source.branch, source.commit) == ("", "work", _git(repository, "rev-parse", "HEAD"))


@pytest.mark.parametrize(
    ("remote", "shown"),
    [
        ("https://user:token@git.example/team/repo.git", "https://git.example/team/repo.git"),
        ("https://git.example/team/repo@work", "https://git.example/team/repo@work"),
        ("https://to@ken@git.example/a@b", "https://git.example/a@b"),
        ("ssh://git@git.example:22/team/repo", "ssh://git.example:22/team/repo"),
        ("git@git.example:team/repo.git", "git@git.example:team/repo.git"),
        ("/srv/repo", "/srv/repo"),
    ],
)
def test_source_shows_a_remote_without_credentials(repository: Path, remote: str, shown: str) -> None:
    _git(repository, "remote", "add", "origin", remote)
    assert build_source().repository == shown


def test_source_is_empty_where_there_is_no_repository_and_no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkout, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert not any(build_source().model_dump().values())
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not any(build_source().model_dump().values())
