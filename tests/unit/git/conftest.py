"""A repository with one lock, served with a token."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from infra.git.command import GitRemote
from tests.unit.git.serving import GitServer, run_git, serving

TOKEN = "ghp_0123456789abcdefTOKENofTHEtests"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    bare, work = tmp_path / "locks.git", tmp_path / "work"
    bare.mkdir()
    work.mkdir()
    run_git(bare, "init", "--bare", "--quiet")
    run_git(bare, "config", "http.receivepack", "true")
    run_git(work, "init", "--quiet")
    (work / "images").mkdir()
    (work / "images" / "a.lock.yaml").write_text("base_version: 1\n")
    (work / "images" / "b.lock.yaml").write_text("base_version: 1\n")
    (work / ".gitignore").write_text("*.lock.yaml\n")
    run_git(work, "add", "--force", ".")
    run_git(work, "commit", "--quiet", "-m", "start")
    run_git(work, "push", "--quiet", str(bare), "HEAD:refs/heads/main")
    with serving(bare, username="x-access-token", token=TOKEN) as running:
        yield running


@pytest.fixture
def remote(server: GitServer) -> GitRemote:
    return GitRemote(server.url, SecretStr(TOKEN))
