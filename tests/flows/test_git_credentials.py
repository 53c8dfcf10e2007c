"""The block that lets a run push locks: the token is used and never shown."""

from __future__ import annotations

import httpx
import pytest
from prefect.blocks.system import Secret
from prefect.settings import PREFECT_API_URL
from pydantic import SecretStr

from images.errors import ConfigurationError
from infra.prefect.git_credentials import GitCredentials, git_remote

TOKEN = "ghp_tokenOfTheBlockTests0123"

pytestmark = pytest.mark.usefixtures("prefect_api")


def _save(name: str, url: str = "https://example.com/team/images.git", **more: str) -> None:
    block = GitCredentials(repository_url=url, token=SecretStr(TOKEN), **more)
    block.save(name, overwrite=True, _sync=True)  # type: ignore[call-arg]


def test_a_block_gives_the_repository_and_its_token() -> None:
    _save("locks", base_branch="trunk")
    remote = git_remote("locks")
    assert (remote.url, remote.username, remote.base_branch) == ("https://example.com/team/images.git", "x-access-token", "trunk")
    assert remote.token.get_secret_value() == TOKEN
    assert TOKEN not in repr(remote)


def test_prefect_does_not_show_the_token() -> None:
    _save("shown")
    shown = httpx.post(f"{PREFECT_API_URL.value()}/block_documents/filter", json={}, timeout=10).text
    assert "team/images.git" in shown
    assert TOKEN not in shown


def test_a_block_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigurationError, match="called nowhere") as caught:
        git_remote("nowhere")
    assert "Blocks" in caught.value.hint


def test_no_other_secret_of_the_server_can_be_named() -> None:
    Secret(value="another secret").save("not-git", overwrite=True, _sync=True)  # type: ignore[call-arg]
    with pytest.raises(ConfigurationError, match="called not-git"):
        git_remote("not-git")


def test_a_url_with_a_credential_is_refused_without_showing_it() -> None:
    _save("careless", url="https://user:hunter2@example.com/images.git")
    with pytest.raises(ConfigurationError, match="holds a credential") as caught:
        git_remote("careless")
    assert "hunter2" not in str(caught.value)
