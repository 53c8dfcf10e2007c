"""Changed lock files as a branch with one commit, pushed for review."""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from images.errors import ConfigurationError
from infra.git.command import Git, GitRemote
from infra.git.lock_patch import ChangedFile, repository_path

AUTHOR: Final = "winvhd"
AUTHOR_EMAIL: Final = "winvhd@localhost"


@dataclass(frozen=True)
class PushedBranch:
    """A branch and its newest commit; `pushed` is False when there was nothing to do: what it starts from holds exactly these files."""

    branch: str
    commit: str
    pushed: bool


def branch_name(month: str, kind: str) -> str:
    """The branch of a monthly run: locks/2026-11-b-week."""
    return f"locks/{month}-{kind}"


def lock_branch(remote: GitRemote, branch: str, files: Collection[ChangedFile], message: str) -> PushedBranch:
    """Push one commit with these files' new texts to a branch of a repository; the base branch is where a new branch starts.

    A branch that is there already is never rewritten, since a person may have added to it: what differs becomes one more commit. The
    commit is made in a temporary folder; the checkout that this program runs from is not touched. Raises ConfigurationError (git's words,
    without the token) when the repository can not be reached, refuses the token or the branch, or has no base branch, and
    MissingToolError without git.
    """
    with tempfile.TemporaryDirectory(prefix="winvhd-locks-") as folder:
        git = Git(Path(folder), remote)
        git.run("make a repository", "init", "--quiet")
        if not git.succeeds("check-ref-format", f"refs/heads/{branch}"):
            raise ConfigurationError(f"not a name for a branch: {branch!r}", hint="for example locks/2026-11-b-week")
        start = _start(git, remote, branch)
        tree = _tree(git, start, files)
        if tree == git.run("read the branch", "rev-parse", f"{start}^{{tree}}"):
            return PushedBranch(branch, start, pushed=False)
        commit = git.run("commit the locks", "commit-tree", tree, "-p", start, "-m", message, environment=_identity())
        git.run(f"push {branch}", "push", "--quiet", remote.url, f"{commit}:refs/heads/{branch}")
        return PushedBranch(branch, commit, pushed=True)


def _start(git: Git, remote: GitRemote, branch: str) -> str:
    """The commit to build on, fetched: the tip of the branch where the remote has it, else that of the base branch."""
    wanted = {f"refs/heads/{name}" for name in (branch, remote.base_branch)}
    heads = git.run("read the branches of the repository", "ls-remote", "--heads", remote.url, *sorted(wanted))
    there = {line.partition("\t")[2] for line in heads.splitlines()}
    for name in (branch, remote.base_branch):
        if f"refs/heads/{name}" in there:
            git.run(f"fetch {name}", "fetch", "--quiet", "--depth=1", "--no-tags", remote.url, f"refs/heads/{name}")
            return git.run("read the fetched commit", "rev-parse", "FETCH_HEAD")
    raise ConfigurationError(
        f"the repository has no branch {remote.base_branch}", hint="name its main branch in the git credentials block (base_branch)"
    )


def _tree(git: Git, start: str, files: Collection[ChangedFile]) -> str:
    """The tree of a commit with these files changed. Nothing is checked out: no link, filter or hook of the repository has a say."""
    git.run("read the branch", "read-tree", start)
    for file in files:
        path = repository_path(file.path)
        if file.new is None:
            git.run(f"remove {path}", "update-index", "--force-remove", "--", path)
        else:
            blob = git.run(f"store {path}", "hash-object", "-w", "--stdin", given=file.new)
            git.run(f"add {path}", "update-index", "--add", "--cacheinfo", f"100644,{blob},{path}")
    return git.run("write the tree", "write-tree")


def _identity() -> dict[str, str]:
    return {f"GIT_{role}_{part}": value for role in ("AUTHOR", "COMMITTER") for part, value in (("NAME", AUTHOR), ("EMAIL", AUTHOR_EMAIL))}
