"""Azurite with containers for the cache and for builds, and an origin to fetch from."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from infra.azure.blob_storage import ArtifactCache, ensure_container
from infra.azure.profile import CloudProfile, StorageAccess
from infra.azure.session import Cloud, open_cloud
from infra.local.azurite import Azurite
from tests.unit.fetch.serving import Server, serving


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A session with nothing but blob storage."""
    with Azurite(tmp_path_factory.mktemp("azurite")) as azurite:
        profile = CloudProfile(
            name="azure",
            source_address="127.0.0.1",
            subscription_id="00000000-0000-0000-0000-000000000001",
            location="westus3",
            vm_sizes=("Standard_D4s_v5",),
            arm_endpoint="http://127.0.0.1:9",
            credential="none",
            storage=StorageAccess(account="winvhd", endpoint=f"{azurite.endpoint}/winvhd", key=SecretStr(azurite.keys["winvhd"])),
            poll_interval_s=0.05,
        )
        with open_cloud(profile) as opened:
            yield opened


@pytest.fixture
def container(cloud: Cloud) -> str:
    """An empty container of this test."""
    name = f"t{uuid.uuid4().hex}"
    ensure_container(cloud, name)
    return name


@pytest.fixture
def cache(cloud: Cloud, container: str) -> ArtifactCache:
    return ArtifactCache(cloud, container=container)


@pytest.fixture
def origin() -> Iterator[Server]:
    with serving() as running:
        yield running
