"""The block of a private fix: only its own type is opened, and no error shows what is in it."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from prefect.blocks.system import Secret
from pydantic import SecretStr

from images.errors import ConfigurationError
from infra.local.origin.private_fixes import fix_url
from infra.prefect.private_fix_source import PrivateFixSource, private_fix_url

FIX = "20348.5510/fixed.msu"


@pytest.fixture
def name(prefect_api: None) -> str:
    """A name no other test uses."""
    return f"fix-{uuid.uuid4().hex[:12]}"


def save(name: str, url: str) -> None:
    PrivateFixSource(url=SecretStr(url), note="for a test").save(name, overwrite=True, _sync=True)  # type: ignore[call-arg]


def test_the_address_comes_back_as_a_secret(name: str) -> None:
    url = fix_url(FIX)
    save(name, url)
    found = private_fix_url(name)
    assert found.get_secret_value() == url
    assert url not in repr(found)


def test_no_block_is_explained(name: str) -> None:
    with pytest.raises(ConfigurationError, match="there is no PrivateFixSource block") as caught:
        private_fix_url(name)
    assert "Private fix source" in caught.value.hint


def test_no_other_secret_can_be_named(name: str) -> None:
    Secret(value=fix_url(FIX)).save(name, overwrite=True, _sync=True)  # type: ignore[call-arg]
    with pytest.raises(ConfigurationError, match="there is no PrivateFixSource block"):
        private_fix_url(name)


@pytest.mark.parametrize("other", ["secret/{name}", "../secret/{name}"])
def test_a_slug_of_another_type_opens_nothing(name: str, other: str) -> None:
    Secret(value=fix_url(FIX)).save(name, overwrite=True, _sync=True)  # type: ignore[call-arg]
    with pytest.raises(ConfigurationError):
        private_fix_url(other.format(name=name))


def test_an_expired_address_is_refused_before_anything_is_built_and_not_shown(name: str) -> None:
    save(name, fix_url(FIX, expires=datetime.now(UTC) - timedelta(hours=1)))
    with pytest.raises(ConfigurationError, match="expired") as caught:
        private_fix_url(name)
    for secret in ("privatefixes", "fixed.msu", "sig"):
        assert secret not in str(caught.value)


def test_text_that_is_no_address_is_refused_and_not_shown(name: str) -> None:
    save(name, "secret words")
    with pytest.raises(ConfigurationError, match="not a URL with a SAS") as caught:
        private_fix_url(name)
    assert "secret words" not in str(caught.value)
