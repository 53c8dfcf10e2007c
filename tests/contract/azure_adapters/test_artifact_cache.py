"""The artifact cache never shows a file under a hash that is not its own."""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from images.errors import ArtifactError, CloudError
from infra.azure.blob_storage import ArtifactCache, BuildBlobs, ensure_container
from infra.azure.session import Cloud

MIB = 1024 * 1024


@pytest.fixture
def cache(cloud: Cloud, container: str) -> ArtifactCache:
    ensure_container(cloud, container)
    return ArtifactCache(cloud, container=container)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _fetch(url: str) -> bytes:
    with urllib.request.urlopen(url) as answer:
        return bytes(answer.read())


@pytest.mark.parametrize("size", [0, 1, 4 * MIB, 9 * MIB + 17])
def test_what_is_put_is_read_back_through_a_sas(cache: ArtifactCache, size: int) -> None:
    content = os.urandom(size)
    sha256 = _sha256(content)
    seen: list[tuple[int, int | None]] = []
    assert not cache.has(sha256)
    chunks = (content[start : start + 1_000_003] for start in range(0, size, 1_000_003))
    assert cache.put_stream(sha256, chunks, size_bytes=size, on_progress=lambda done, total: seen.append((done, total))) == size
    assert cache.has(sha256)
    assert _fetch(cache.read_sas(sha256, hours=1).get_secret_value()) == content
    assert cache.known() == {sha256: size}
    assert not size or seen[-1] == (size, size)


def test_other_bytes_are_refused_and_leave_nothing(cache: ArtifactCache) -> None:
    promised = _sha256(b"what was promised")
    with pytest.raises(ArtifactError, match=promised):
        cache.put_stream(promised, [b"what came"])
    assert not cache.has(promised)
    assert cache.known() == {}


def test_another_size_is_refused(cache: ArtifactCache) -> None:
    with pytest.raises(ArtifactError, match="promised"):
        cache.put_stream(_sha256(b"abc"), [b"abc"], size_bytes=4)
    assert cache.known() == {}


def test_a_stream_that_breaks_off_leaves_nothing_and_can_be_put_again(cache: ArtifactCache) -> None:
    content = os.urandom(6 * MIB)
    sha256 = _sha256(content)

    def broken() -> Iterator[bytes]:
        yield content[: 5 * MIB]
        raise ConnectionError("the origin went away")

    with pytest.raises(ConnectionError):
        cache.put_stream(sha256, broken())
    assert not cache.has(sha256)
    assert cache.put_stream(sha256, [content]) == len(content)
    assert cache.has(sha256)


def test_two_writers_of_the_same_file_both_succeed(cache: ArtifactCache) -> None:
    content = os.urandom(9 * MIB)
    sha256 = _sha256(content)
    with ThreadPoolExecutor(4) as pool:
        sizes = list(pool.map(lambda _: cache.put_stream(sha256, [content]), range(4)))
    assert sizes == [len(content)] * 4
    assert _fetch(cache.read_sas(sha256, hours=1).get_secret_value()) == content


def test_a_local_file_is_verified_too(cache: ArtifactCache, tmp_path: Path) -> None:
    file = tmp_path / "package.zip"
    file.write_bytes(os.urandom(MIB))
    with pytest.raises(ArtifactError):
        cache.put_file(_sha256(b"other"), file)
    assert cache.put_file(_sha256(file.read_bytes()), file) == MIB


def test_scopes_do_not_see_each_other(cloud: Cloud, cache: ArtifactCache, container: str) -> None:
    private = ArtifactCache(cloud, container=container, prefix="private/fix-1/")
    private.put_stream(_sha256(b"fix"), [b"fix"])
    assert private.has(_sha256(b"fix"))
    assert not cache.has(_sha256(b"fix"))
    assert cache.known() == {}


def test_a_read_sas_opens_one_blob_for_reading_only(cache: ArtifactCache) -> None:
    for content in (b"one", b"two"):
        cache.put_stream(_sha256(content), [content])
    url = cache.read_sas(_sha256(b"one"), hours=1).get_secret_value()
    assert _fetch(url) == b"one"
    with pytest.raises(urllib.error.HTTPError) as other:
        _fetch(url.replace(_sha256(b"one"), _sha256(b"two")))
    other.value.close()
    request = urllib.request.Request(url, data=b"new", method="PUT", headers={"x-ms-blob-type": "BlockBlob"})
    with pytest.raises(urllib.error.HTTPError) as written:
        urllib.request.urlopen(request)
    written.value.close()
    assert (other.value.code, written.value.code) == (403, 403)


def test_a_sas_does_not_show_when_printed(cache: ArtifactCache) -> None:
    url = cache.read_sas("0" * 64, hours=1)
    assert "sig=" in url.get_secret_value()
    assert "sig=" not in f"{url} {url!r}"


@pytest.mark.parametrize("hours", [0, -1, 24 * 8])
def test_absurd_hours_are_refused(cache: ArtifactCache, hours: float) -> None:
    with pytest.raises(ValueError, match="hours"):
        cache.read_sas("0" * 64, hours)


def test_a_missing_container_is_explained(cloud: Cloud) -> None:
    with pytest.raises(CloudError) as caught:
        ArtifactCache(cloud, container="not-there").known()
    assert caught.value.code == "ContainerNotFound"
    assert "bicep" in caught.value.hint


def test_results_of_a_build_lie_under_its_id(cloud: Cloud, container: str, tmp_path: Path) -> None:
    ensure_container(cloud, container)
    ensure_container(cloud, container)  # again is fine
    blobs = BuildBlobs(cloud, "b1", container=container)
    file = tmp_path / "image-bom.json"
    file.write_text("{}")
    seen: list[int] = []
    url = blobs.put_file("image-bom.json", file, "application/json", lambda done, _total: seen.append(done))
    plan = tmp_path / "plan.json"
    for content in ("[]", "[1]"):
        plan.write_text(content)
        blobs.put_file("plan.json", plan, "application/json")
    BuildBlobs(cloud, "b10", container=container).put_file("other.json", file)
    assert url.endswith(f"/{container}/b1/image-bom.json")
    assert "?" not in url
    assert blobs.list() == {"image-bom.json": 2, "plan.json": 3}
    assert _fetch(blobs.read_sas("plan.json", 1).get_secret_value()) == b"[1]"
    assert seen
