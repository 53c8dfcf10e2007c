"""GitCredentials: the block that lets a run push lock changes as a branch of a repository."""

from __future__ import annotations

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from images.errors import ConfigurationError
from infra.git.command import GitRemote


class GitCredentials(Block):
    """A repository and a token that may push branches to it; Prefect stores the token encrypted and never shows it."""

    _block_type_name = "Git credentials"
    _block_type_slug = "git-credentials"
    _description = "A git repository and a token: monthly runs push the locks that moved as a branch there."

    repository_url: str = Field(description="Address of the repository, https:// and without any credential.")
    token: SecretStr = Field(description="Access token with the right to push branches, and no other.")
    username: str = Field(default="x-access-token", description="User that goes with the token; GitHub and Azure Repos take any.")
    base_branch: str = Field(default="main", description="Branch that the branches with locks start from.")


def git_remote(name: str) -> GitRemote:
    """The repository and token of a GitCredentials block; raises ConfigurationError when there is none of that name, or it is unusable."""
    try:
        # Prefect's own switch for "now, not a coroutine", which its types do not tell.
        block = GitCredentials.load(name, _sync=True)  # type: ignore[call-arg]
    except ValueError:
        block = None
    if not isinstance(block, GitCredentials):
        raise ConfigurationError(
            f"there is no block of the type Git credentials called {name}", hint="make it in the Prefect UI, under Blocks"
        )
    return GitRemote(block.repository_url, block.token, block.username, block.base_branch)
