"""Container images whose layers are in the blob cache: the registry is asked for manifests, and for what the cache does not give."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from images.lock import LockedContainerImage
from infra.fetch.registry import Registry
from infra.local.contracts import Outside
from infra.local.latency import LatencyProfile
from infra.local.machine import containerd, services
from infra.local.machine.engine import ModelEngine
from infra.local.origin.request_log import RequestRecord
from tests.unit.fetch.serving import Answer, Server, serving
from tests.unit.local.machine.conftest import Box

PAUSE = "mcr.microsoft.com/oss/v2/kubernetes/pause:3.10.2"
SERVER_CORE = "mcr.microsoft.com/windows/servercore:ltsc2022"
WITH_IIS = "mcr.microsoft.com/windows/servercore/iis:windowsservercore-ltsc2022"
SCRIPT = "Import-ContainerImage.ps1"


@pytest.fixture
def cache() -> Iterator[Server]:
    with serving() as running:
        yield running


@pytest.fixture
def node(box: Box) -> Box:
    """A machine with containerd."""
    services.set_service(box.disk, "containerd", services.AUTO)
    return box


@pytest.fixture
def lock(box: Box) -> Iterator[Callable[[str], LockedContainerImage]]:
    """Locks an image for the machine's Windows."""
    with httpx.Client(headers={"User-Agent": "lock"}) as client:
        registry = Registry(client, Outside(box.world.gateway).route)
        yield lambda reference: registry.lock_image(reference, 20348)


def cached(box: Box, cache: Server, image: LockedContainerImage) -> dict[str, Any]:
    """The stage's input for an image of which the cache has every blob."""
    repository = image.reference.rpartition(":")[0]
    blobs = {}
    for blob in image.blobs:
        url = Outside(box.world.gateway).route(Registry.blob_url(f"{repository}:x", blob.sha256))
        content = httpx.get(url, headers={"User-Agent": "lock"}).raise_for_status().content
        blobs[blob.sha256] = cache.on(f"/cache/{blob.sha256}", Answer(content)) + "?sig=hush"
    return {"reference": image.reference, "digest": image.digest, "blobs": blobs}


def asked_of_registries(box: Box, action: Callable[[], object]) -> list[RequestRecord]:
    """What the guest asks of registries for the action's time."""
    seen = len(box.world.guest_requests())
    action()
    return box.world.guest_requests()[seen:]


def layers(asked: list[RequestRecord]) -> list[str]:
    return [record.url for record in asked if "/blobs/" in record.url]


def pull(box: Box, *images: dict[str, Any], attempts: int = 3, parallel: int = 4) -> dict[str, Any]:
    return box.result(SCRIPT, images=list(images), parallel=parallel, attempts=attempts)


def test_the_registry_is_asked_for_manifests_only(node: Box, cache: Server, lock: Callable[[str], LockedContainerImage]) -> None:
    image = cached(node, cache, lock(PAUSE))
    asked = asked_of_registries(node, lambda: pull(node, image, attempts=1))
    assert len(asked) == 2
    assert layers(asked) == []
    assert sorted(one.target for one in cache.asked) == sorted(f"/cache/{sha256}?sig=hush" for sha256 in image["blobs"])
    assert all(containerd.has_blob(node.disk, f"sha256:{sha256}") for sha256 in image["blobs"])
    assert PAUSE in {stored.name for stored in containerd.images(node.disk)}


@pytest.mark.parametrize("parallel", [1, 2])
def test_layers_that_images_share_travel_once(node: Box, cache: Server, lock: Callable[[str], LockedContainerImage], parallel: int) -> None:
    images = [cached(node, cache, lock(reference)) for reference in (SERVER_CORE, WITH_IIS)]
    shared = set(images[0]["blobs"]) & set(images[1]["blobs"])
    assert len(shared) == 2
    asked = asked_of_registries(node, lambda: pull(node, *images, parallel=parallel))
    assert layers(asked) == []
    wanted = set(images[0]["blobs"]) | set(images[1]["blobs"])
    assert sorted(one.target for one in cache.asked) == sorted(f"/cache/{sha256}?sig=hush" for sha256 in wanted)


@pytest.mark.parametrize("status", [403, 404, 500, None])
def test_a_blob_that_the_cache_refuses_comes_from_the_registry_in_the_same_try(
    node: Box, cache: Server, lock: Callable[[str], LockedContainerImage], status: int | None
) -> None:
    image = cached(node, cache, lock(PAUSE))
    refused = next(iter(image["blobs"]))
    if status:
        cache.on(f"/cache/{refused}", Answer(status=status))
    else:
        image["blobs"][refused] = f"http://127.0.0.1:9/cache/{refused}?sig=hush"
    outcomes: list[dict[str, Any]] = []
    asked = asked_of_registries(node, lambda: outcomes.append(pull(node, image, attempts=1)))
    assert [url.rpartition(":")[2] for url in layers(asked)] == [refused]
    assert outcomes[0]["images"] == [{"reference": PAUSE, "digest": image["digest"], "attempts": 1}]


def test_a_blob_that_the_cache_never_got_is_told_and_comes_from_the_registry(
    node: Box, cache: Server, lock: Callable[[str], LockedContainerImage]
) -> None:
    image = cached(node, cache, lock(PAUSE))
    lacking = next(iter(image["blobs"]))
    image["blobs"][lacking] = ""
    outcome = node.run(SCRIPT, images=[image], parallel=1, attempts=1)
    assert outcome.exit_code == 0
    assert f"{PAUSE}: the cache does not have sha256:{lacking}" in outcome.stderr
    assert "hush" not in outcome.stderr + str(outcome.lines)


def test_a_wrong_blob_is_never_kept_and_the_next_try_goes_to_the_registry(
    node: Box, cache: Server, lock: Callable[[str], LockedContainerImage]
) -> None:
    image = cached(node, cache, lock(PAUSE))
    wrong = next(iter(image["blobs"]))
    cache.on(f"/cache/{wrong}", Answer(b"not these bytes"))
    assert node.run(SCRIPT, images=[image], parallel=1, attempts=1).code == "pull-failed"
    assert not containerd.has_blob(node.disk, f"sha256:{wrong}")
    assert containerd.images(node.disk) == ()
    outcome = pull(node, image, attempts=2)
    assert outcome["images"][0]["attempts"] == 2
    content = containerd.read_blob(node.disk, f"sha256:{wrong}")
    assert content is not None
    assert hashlib.sha256(content).hexdigest() == wrong


def test_the_way_from_the_registry_is_the_longer_one(node: Box, cache: Server, lock: Callable[[str], LockedContainerImage]) -> None:
    slow = LatencyProfile(scale=1, minutes={"guest.image-transfer": 0.6 / 60, "guest.image-blob": 0.2 / 60})
    node.engine = ModelEngine(Outside(node.world.gateway), node.faults, slow)
    image = cached(node, cache, lock(PAUSE))

    def seconds_of(given: dict[str, Any]) -> float:
        begun = time.monotonic()
        pull(node, given)
        return time.monotonic() - begun

    assert 0.2 <= seconds_of(image) < 0.6
    elsewhere = cached(node, cache, lock("mcr.microsoft.com/oss/v2/kubernetes/pause:3.9")) | {"blobs": {}}
    assert seconds_of(elsewhere) >= 0.6
