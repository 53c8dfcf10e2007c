"""Layers of container images go through the blob cache: a guest asks registries for manifests, and for what the cache does not give it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from flows.build_image import build_image
from flows.choices import ImageChoice
from images.loading import load_definition
from images.lock import ImageLock
from infra.azure.blob_storage import CACHE_CONTAINER, ArtifactCache
from infra.azure.session import Cloud
from infra.fetch.http import ATTEMPTS
from infra.fetch.registry import Registry
from tasks.resolve_lock import resolve_lock
from tests.standin_fixtures import FaultControl

SERVER_CORE = "mcr.microsoft.com/windows/servercore:10.0.20348.5386"
WITH_IIS = "mcr.microsoft.com/windows/servercore/iis:windowsservercore-10.0.20348.5386"
NANO_SERVER = "mcr.microsoft.com/windows/nanoserver:10.0.20348.5386"


class BlobRequests:
    """Who asked registries for which blobs, since the test began."""

    def __init__(self, cloud: Cloud) -> None:
        self._url = f"{cloud.profile.outside_gateway}/.requests"
        self._seen = len(self._records())

    def _records(self) -> list[dict[str, str]]:
        return [json.loads(line) for line in httpx.get(self._url, timeout=30).raise_for_status().text.splitlines()]

    def of(self, *, guest: bool) -> Counter[str]:
        """How often each blob was asked for, by its hash: by guests, or by the worker."""
        asked = [record for record in self._records()[self._seen :] if "/blobs/sha256:" in record["url"]]
        return Counter(record["url"].rpartition(":")[2] for record in asked if record["client"].startswith("winvhd-guest/") is guest)


@pytest.fixture
def requests(cloud: Cloud) -> BlobRequests:
    return BlobRequests(cloud)


def _build(
    define: Callable[..., str], cloud: Cloud, name: str, *references: str, prepare: Callable[[ImageLock], None] | None = None
) -> ImageLock:
    """Lock and build an image of these container images; `prepare` gets the lock before the build."""
    file = define(name=name, container_images=list(references), packages=None, registry=None, e2e_suites=[])
    lock = resolve_lock(load_definition(Path(file)), Path(file), cloud)
    if prepare:
        prepare(lock)
    folder = Path(build_image(ImageChoice(file), "local")["folder"])
    assert {image["name"] for image in json.loads((folder / "inventory.json").read_text())["container_images"]} >= set(references)
    return lock


def test_a_guest_asks_registries_for_no_layer_and_shared_layers_travel_once(
    define: Callable[..., str], cloud: Cloud, requests: BlobRequests
) -> None:
    lock = _build(define, cloud, "image-cache", SERVER_CORE, WITH_IIS)
    core, iis = ({blob.sha256 for blob in image.blobs} for image in lock.container_images)
    assert len(core & iis) == 2
    assert requests.of(guest=True) == {}
    assert requests.of(guest=False) == dict.fromkeys(core | iis, 1)


def test_layers_that_the_cache_lacks_or_has_wrong_come_from_the_registry(
    define: Callable[..., str], cloud: Cloud, requests: BlobRequests, faults: FaultControl
) -> None:
    spoilt: list[str] = []

    def prepare(lock: ImageLock) -> None:
        config, layer = lock.container_images[0].blobs
        spoilt[:] = config.sha256, layer.sha256
        unreadable = {"code": "down", "status": 503}
        faults({"point": "origin.fetch", "key": Registry.blob_url(NANO_SERVER, config.sha256), "fault": unreadable, "times": ATTEMPTS})
        with cloud.blobs().get_blob_client(CACHE_CONTAINER, ArtifactCache(cloud).blob_name(layer.sha256)) as blob:
            blob.upload_blob(b"not these bytes")

    _build(define, cloud, "image-cache-spoilt", NANO_SERVER, prepare=prepare)
    config, layer = spoilt
    assert requests.of(guest=False) == {config: ATTEMPTS}
    assert requests.of(guest=True) == {config: 1, layer: 1}
    assert not ArtifactCache(cloud).has(config)
