"""Files reach the cache once, whole, and whoever waits for one gets it or the reason why not."""

from __future__ import annotations

import dataclasses
import hashlib
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

from images.errors import ArtifactError, CancelledError, CloudError
from images.lock import LockedBlob, LockedContainerImage
from infra.azure.blob_storage import ArtifactCache
from infra.azure.session import Cloud
from tasks.supply import Artifact, ArtifactSupply, artifacts_of
from tests.unit.fetch.serving import Answer, Server
from tests.unit.images.samples import lock_of, rich_definition

Progress = list[tuple[str, int, int]]


def _artifact(origin: Server, name: str, body: bytes, *answers: Answer) -> Artifact:
    """A file that the origin has, or for which it gives these answers."""
    origin.on(f"/files.example/{name}", *(answers or (Answer(body),)))
    return Artifact(f"https://files.example/{name}?sig=hush", hashlib.sha256(body).hexdigest(), len(body))


def _supply(cache: ArtifactCache, origin: Server) -> ArtifactSupply:
    return ArtifactSupply(cache, origin.route, first_wait_s=0.01)


def _read(url: str) -> bytes:
    with urllib.request.urlopen(url) as answer:
        return bytes(answer.read())


def test_files_are_fetched_and_handed_out_by_address(cache: ArtifactCache, origin: Server) -> None:
    supply = _supply(cache, origin)
    wanted = [_artifact(origin, f"{number}.zip", b"%d" % number * 1000) for number in range(12)]
    seen: Progress = []
    supply.fill(wanted, lambda name, done, total: seen.append((name, done, total)))
    assert [_read(supply.address(file.sha256)) for file in wanted] == [b"%d" % number * 1000 for number in range(12)]
    assert supply.fetched_bytes == sum(file.size_bytes for file in wanted)
    assert seen == [(f"{number}.zip", number + 1, 12) for number in range(12)]


def test_what_is_cached_is_not_fetched_again(cache: ArtifactCache, origin: Server) -> None:
    wanted = [_artifact(origin, "a.zip", b"a"), _artifact(origin, "b.zip", b"b")]
    _supply(cache, origin).fill(wanted[:1], lambda *_: None)
    supply = _supply(cache, origin)
    supply.fill(wanted, lambda *_: None)
    assert [asked.target for asked in origin.asked] == ["/files.example/a.zip?sig=hush", "/files.example/b.zip?sig=hush"]
    assert supply.fetched_bytes == 1
    assert _read(supply.address(wanted[0].sha256)) == b"a"


def test_a_file_that_is_wanted_twice_is_fetched_once(cache: ArtifactCache, origin: Server) -> None:
    file = _artifact(origin, "a.zip", b"a")
    _supply(cache, origin).fill([file, file], lambda *_: None)
    assert len(origin.asked) == 1


def test_a_transfer_that_broke_off_is_made_good(cache: ArtifactCache, origin: Server) -> None:
    body = b"x" * 5000
    file = _artifact(origin, "a.zip", body, Answer(body, cut_at=100), Answer(b"y" * 5000), Answer(status=503), Answer(body))
    supply = _supply(cache, origin)
    supply.fill([file], lambda *_: None)
    assert _read(supply.address(file.sha256)) == body


def test_other_bytes_than_the_lock_promises_fail_the_fetch_and_every_wait_but_no_other_file(cache: ArtifactCache, origin: Server) -> None:
    good, bad = _artifact(origin, "good.zip", b"good"), _artifact(origin, "bad.zip", b"bad", Answer(b"worse"))
    supply = _supply(cache, origin)
    with pytest.raises(ArtifactError, match=r"files\.example/bad\.zip: the file has sha256") as caught:
        supply.fill([bad, good], lambda *_: None)
    assert "refresh the lock" in caught.value.hint
    assert "hush" not in str(caught.value)
    with pytest.raises(ArtifactError, match="promised were"):
        supply.address(bad.sha256)
    assert _read(supply.address(good.sha256)) == b"good"
    assert cache.known() == {good.sha256: 4}


def test_a_missing_file_is_named(cache: ArtifactCache, origin: Server) -> None:
    file = _artifact(origin, "gone.zip", b"gone", Answer(status=404))
    with pytest.raises(ArtifactError, match=r"https://files\.example/gone\.zip: HTTP 404"):
        _supply(cache, origin).fill([file], lambda *_: None)
    assert len(origin.asked) == 1


@pytest.mark.timeout(30)
def test_who_waits_before_the_fetch_began_gets_the_file_when_it_is_there(cache: ArtifactCache, origin: Server) -> None:
    file = _artifact(origin, "a.zip", b"a")
    supply = _supply(cache, origin)
    supply.expect([file])
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(supply.address, file.sha256)
        supply.fill([file], lambda *_: None)
        assert _read(waiting.result()) == b"a"


@pytest.mark.timeout(30)
def test_nobody_waits_for_ever_when_the_cache_can_not_be_read(cloud: Cloud, origin: Server) -> None:
    file = _artifact(origin, "a.zip", b"a")
    supply = _supply(ArtifactCache(cloud, container="not-there"), origin)
    supply.expect([file])
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(supply.address, file.sha256)
        with pytest.raises(CloudError, match="cache"):
            supply.fill([file], lambda *_: None)
        assert isinstance(waiting.exception(), CloudError)


def test_a_stopped_supply_fetches_nothing_more(cache: ArtifactCache, origin: Server) -> None:
    file = _artifact(origin, "a.zip", b"a")
    supply = _supply(cache, origin)
    supply.stop()
    with pytest.raises(CancelledError):
        supply.fill([file], lambda *_: None)
    with pytest.raises(CancelledError):
        supply.address(file.sha256)
    assert origin.asked == []


def test_a_lock_needs_its_runtime_packages_updates_and_oci_files_each_once() -> None:
    lock = lock_of(rich_definition())
    artifacts = artifacts_of(lock)
    updates = [update.file.sha256 for update in lock.updates if update.file]
    oci = [file.sha256 for artifact in lock.oci_artifacts for file in artifact.files]
    assert [artifact.sha256 for artifact in artifacts] == [*(file.sha256 for file in lock.files), *updates, *oci]
    assert artifacts[-1].url == f"https://registry.example/v2/wcn/blobs/sha256:{oci[0]}"
    doubled = lock.model_copy(update={"files": (*lock.files, lock.files[0])})
    assert artifacts_of(doubled) == artifacts


def test_layers_of_container_images_come_last_each_once_and_may_be_missing() -> None:
    lock = lock_of(rich_definition())
    shared, own = LockedBlob(sha256="a" * 64, size_bytes=7), LockedBlob(sha256="b" * 64, size_bytes=1)
    also_a_file = LockedBlob(sha256=lock.files[0].sha256, size_bytes=lock.files[0].size_bytes)
    images = [
        LockedContainerImage(reference=f"registry.example/{name}:1", digest="sha256:" + "0" * 64, blobs=blobs)
        for name, blobs in (("base", (shared,)), ("app", (shared, own, also_a_file)))
    ]
    artifacts = artifacts_of(lock.model_copy(update={"container_images": tuple(images)}))
    assert artifacts[:-2] == artifacts_of(lock)
    assert [(file.url, file.size_bytes) for file in artifacts[-2:]] == [
        (f"https://registry.example/v2/base/blobs/sha256:{shared.sha256}", 7),
        (f"https://registry.example/v2/app/blobs/sha256:{own.sha256}", 1),
    ]
    assert [file.optional for file in artifacts] == [False] * (len(artifacts) - 2) + [True] * 2
    assert all(file.in_registry for file in artifacts[-2:])


def test_a_layer_that_can_not_be_had_has_no_address_and_stops_nothing(cache: ArtifactCache, origin: Server) -> None:
    file = _artifact(origin, "a.zip", b"a")
    gone = Artifact("https://registry.example/v2/app/blobs/sha256:0", "0" * 64, 1, in_registry=True, optional=True)
    supply = _supply(cache, origin)
    seen: Progress = []
    supply.fill([file, gone], lambda name, done, total: seen.append((name, done, total)))
    assert (bool(supply.address(file.sha256)), supply.address(gone.sha256)) == (True, "")
    assert [(name.partition(",")[0], done) for name, done, _ in seen] == [("a.zip", 1), ("sha256:0: not cached", 2)]


def test_a_registrys_blob_is_fetched_with_the_token_that_the_registry_asks_for(cache: ArtifactCache, origin: Server) -> None:
    challenge = {"WWW-Authenticate": 'Bearer realm="https://auth.example/token"'}
    origin.on("/auth.example/token", Answer(b'{"token": "t0"}'))
    file = _artifact(origin, "blob", b"layer", Answer(status=401, headers=challenge), Answer(b"layer"))
    supply = _supply(cache, origin)
    supply.fill([dataclasses.replace(file, in_registry=True)], lambda *_: None)
    assert _read(supply.address(file.sha256)) == b"layer"
    assert origin.asked[-1].headers["Authorization"] == "Bearer t0"
