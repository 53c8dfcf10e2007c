"""Lock changes become one commit on a branch for review; the token is seen by the server and by nobody else."""

from __future__ import annotations

import base64
import os
import shutil
from pathlib import Path

import pytest
from pydantic import SecretStr

from images.errors import ConfigurationError, MissingToolError
from infra.git.command import GitRemote
from infra.git.lock_branch import branch_name, lock_branch
from infra.git.lock_patch import ChangedFile
from tests.unit.git.conftest import TOKEN
from tests.unit.git.serving import GitServer, run_git

BRANCH = branch_name("2026-11", "b-week")
MOVED = ChangedFile("images/a.lock.yaml", "base_version: 1\n", "base_version: 2\n")
ADDED = ChangedFile("images/c.lock.yaml", None, "base_version: 3\n")
BASIC = base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()


def test_the_branch_is_named_after_month_and_kind() -> None:
    assert BRANCH == "locks/2026-11-b-week"


def test_changed_locks_are_one_commit_on_top_of_the_base_branch(server: GitServer, remote: GitRemote) -> None:
    pushed = lock_branch(remote, BRANCH, [MOVED, ADDED], "locks: 2026-11 b-week\n\ntwo images moved")
    assert (pushed.branch, pushed.pushed) == (BRANCH, True)
    assert pushed.commit == run_git(server.repository, "rev-parse", BRANCH)
    assert server.log(BRANCH) == ["locks: 2026-11 b-week", "start"]
    assert server.text(BRANCH, "images/a.lock.yaml") == "base_version: 2"
    assert server.text(BRANCH, "images/c.lock.yaml") == "base_version: 3"
    assert run_git(server.repository, "diff", "--name-only", "main", BRANCH).splitlines() == ["images/a.lock.yaml", "images/c.lock.yaml"]
    assert run_git(server.repository, "log", "-1", "--format=%an <%ae>", BRANCH) == "winvhd <winvhd@localhost>"


def test_a_lock_that_went_away_is_removed(server: GitServer, remote: GitRemote) -> None:
    lock_branch(remote, BRANCH, [ChangedFile("images/b.lock.yaml", "base_version: 1\n", None)], "locks: less")
    assert run_git(server.repository, "ls-tree", "--name-only", f"{BRANCH}:images").splitlines() == ["a.lock.yaml"]


def test_the_same_change_again_pushes_nothing(server: GitServer, remote: GitRemote) -> None:
    first = lock_branch(remote, BRANCH, [MOVED], "locks: once")
    again = lock_branch(remote, BRANCH, [MOVED], "locks: twice")
    assert (again.commit, again.pushed) == (first.commit, False)
    assert server.log(BRANCH) == ["locks: once", "start"]


def test_a_change_that_the_base_branch_has_makes_no_branch(server: GitServer, remote: GitRemote) -> None:
    same = ChangedFile("images/a.lock.yaml", None, "base_version: 1\n")
    assert lock_branch(remote, BRANCH, [same], "locks: nothing").pushed is False
    assert run_git(server.repository, "for-each-ref", "--format=%(refname)") == "refs/heads/main"


def test_what_a_person_added_to_the_branch_stays(server: GitServer, remote: GitRemote, tmp_path: Path) -> None:
    lock_branch(remote, BRANCH, [MOVED], "locks: first")
    clone = tmp_path / "clone"
    clone.mkdir()
    run_git(clone, "clone", "--quiet", "--branch", BRANCH, str(server.repository), ".")
    (clone / "note.txt").write_text("looked at it\n")
    run_git(clone, "add", ".")
    run_git(clone, "commit", "--quiet", "-m", "a person's note")
    run_git(clone, "push", "--quiet", "origin", BRANCH)
    lock_branch(remote, BRANCH, [ADDED], "locks: second")
    assert server.log(BRANCH) == ["locks: second", "a person's note", "locks: first", "start"]
    assert server.text(BRANCH, "note.txt") == "looked at it"


def test_the_token_is_in_no_argument_no_url_and_no_file(
    server: GitServer, remote: GitRemote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git, seen = shutil.which("git"), tmp_path / "seen"
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "git").write_text(f'#!/bin/sh\necho "$0 $*" >>{seen}\ncat "$2"/.git/config >>{seen} 2>/dev/null\nexec {git} "$@"\n')
    (tools / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    lock_branch(remote, BRANCH, [MOVED], "locks: moved")
    said = seen.read_text()
    assert "push" in said
    assert "[core]" in said
    for secret in (TOKEN, BASIC):
        assert secret not in said
        assert all(secret not in line for line, _ in server.requests)
    assert {given for _, given in server.requests} == {f"x-access-token:{TOKEN}"}
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_refused_token_is_explained_without_showing_it(server: GitServer) -> None:
    wrong = "ghp_WRONGwrongWRONGwrong"
    with pytest.raises(ConfigurationError, match="can not read the branches") as caught:
        lock_branch(GitRemote(server.url, SecretStr(wrong)), BRANCH, [MOVED], "locks: moved")
    assert "token" in caught.value.hint
    assert wrong not in str(caught.value)
    assert base64.b64encode(f"x-access-token:{wrong}".encode()).decode() not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_redirect_is_not_followed_with_the_token(server: GitServer, remote: GitRemote) -> None:
    server.redirect = True
    with pytest.raises(ConfigurationError, match="can not read the branches"):
        lock_branch(remote, BRANCH, [MOVED], "locks: moved")
    assert len(server.requests) == 1


def test_the_surroundings_of_git_have_no_say(server: GitServer, remote: GitRemote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = tmp_path / "trace"
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    monkeypatch.setenv("GIT_TRACE_CURL", str(trace))
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", "'commit.gpgSign=true'")
    lock_branch(remote, BRANCH, [MOVED], "locks: moved")
    assert server.log(BRANCH)[0] == "locks: moved"
    assert not trace.exists()
    assert not (tmp_path / "index").exists()


def test_a_branch_that_the_server_protects_is_an_error(server: GitServer, remote: GitRemote) -> None:
    hook = server.repository / "hooks" / "update"
    hook.write_text("#!/bin/sh\necho protected by the tests >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(ConfigurationError, match="can not push locks/2026-11-b-week") as caught:
        lock_branch(remote, BRANCH, [MOVED], "locks: moved")
    assert "protected by the tests" in caught.value.what


def test_a_base_branch_that_is_not_there_is_named(server: GitServer) -> None:
    with pytest.raises(ConfigurationError, match="no branch trunk") as caught:
        lock_branch(GitRemote(server.url, SecretStr(TOKEN), base_branch="trunk"), BRANCH, [MOVED], "locks: moved")
    assert "base_branch" in caught.value.hint


@pytest.mark.parametrize("branch", ["", "a b", "a..b", "x.lock", "@{1}"])
def test_what_is_no_name_for_a_branch_is_refused(remote: GitRemote, branch: str) -> None:
    with pytest.raises(ConfigurationError, match="not a name for a branch"):
        lock_branch(remote, branch, [MOVED], "locks: moved")


@pytest.mark.parametrize(
    "url",
    ["https://user:secret@example.com/r.git", "https://secret@example.com/r.git", "https://example.com/r.git?token=secret"],
)
def test_a_credential_in_the_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="holds a credential") as caught:
        GitRemote(url, SecretStr(TOKEN))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://example.com/r.git", "git://example.com/r.git", "ext::sh -c id", "--upload-pack=id", "example.com/r"]
)
def test_a_token_only_travels_over_tls(url: str) -> None:
    with pytest.raises(ConfigurationError, match="a token does not go over"):
        GitRemote(url, SecretStr(TOKEN))


@pytest.mark.parametrize("url", ["https://[x", "https://[secret@x/r.git"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="URL is malformed") as caught:
        GitRemote(url, SecretStr(TOKEN))
    assert "secret" not in str(caught.value)


def test_no_git_is_explained(remote: GitRemote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingToolError, match="git is not installed"):
        lock_branch(remote, BRANCH, [MOVED], "locks: moved")
