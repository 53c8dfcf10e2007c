"""The pull side of a registry: what its bytes hash to is believed, what it says of them is not."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import httpx
import pytest

from images.errors import ArtifactError
from infra.fetch.http import FetchFailed
from infra.fetch.registry import Registry, split_reference
from tests.unit.fetch.serving import Answer, Server, serving

HOST = "registry.example"
REFERENCE = f"{HOST}/team/thing:1.0"
MANIFESTS = f"/{HOST}/v2/team/thing/manifests"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"


BUILD = 20348


@pytest.fixture
def registry(server: Server, client: httpx.Client) -> Registry:
    return Registry(client, server.route, first_wait_s=0.01)


def _digest(body: bytes) -> str:
    return "sha256:" + hashlib.sha256(body).hexdigest()


def _json(content: Any) -> bytes:
    return json.dumps(content, indent=3).encode()


def _layer(title: str | None, body: bytes) -> dict[str, Any]:
    layer: dict[str, Any] = {"digest": _digest(body), "size": len(body)}
    return layer | {"annotations": {"org.opencontainers.image.title": title}} if title else layer


MANIFEST = _json({"config": {"digest": _digest(b"config"), "size": 100}, "layers": [{"digest": _digest(b"layer"), "size": 2000}]})
PLATFORM = {"os": "windows", "architecture": "amd64", "os.version": "10.0.20348.5499"}
INDEX = _json({"mediaType": INDEX_TYPE, "manifests": [{"digest": _digest(MANIFEST), "platform": PLATFORM}]})
ARTIFACT = _json({"layers": [_layer("a.zip", b"first"), _layer(None, b"no title"), {**_layer(None, b"null"), "annotations": None}]})


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("mcr.microsoft.com/oss/pause:3.10", ("mcr.microsoft.com", "oss/pause", "3.10")),
        ("localhost:5000/a:1", ("localhost:5000", "a", "1")),
    ],
)
def test_references_come_apart_at_registry_and_tag(reference: str, parts: tuple[str, str, str]) -> None:
    assert split_reference(reference) == parts


@pytest.fixture
def manifest(server: Server) -> None:
    """The one manifest of INDEX is served."""
    server.on(f"{MANIFESTS}/{_digest(MANIFEST)}", Answer(MANIFEST))


def test_an_image_is_locked_to_the_digest_of_the_index_its_tag_names(server: Server, registry: Registry, manifest: None) -> None:
    server.on(f"{MANIFESTS}/1.0", Answer(INDEX, headers={"Docker-Content-Digest": "sha256:" + "0" * 64}))
    locked = registry.lock_image(REFERENCE, BUILD)
    assert (locked.digest, locked.manifest) == (_digest(INDEX), _digest(MANIFEST))
    assert (locked.os_version, locked.size_bytes) == ("10.0.20348.5499", 2100)
    assert [(f"sha256:{blob.sha256}", blob.size_bytes) for blob in locked.blobs] == [(_digest(b"config"), 100), (_digest(b"layer"), 2000)]
    asked = server.asked[0]
    assert INDEX_TYPE in asked.headers["Accept"]
    assert "application/vnd.docker.distribution.manifest.v2+json" in asked.headers["Accept"]


def test_an_image_for_every_build_has_no_windows_version(server: Server, registry: Registry, manifest: None) -> None:
    platform = {"os": "windows", "architecture": "amd64"}
    server.on(f"{MANIFESTS}/1.0", Answer(_json({"manifests": [{"digest": _digest(MANIFEST), "platform": platform}]})))
    locked = registry.lock_image(REFERENCE, 17763)
    assert (locked.manifest, locked.os_version) == (_digest(MANIFEST), None)


def test_an_index_without_this_windows_build_is_refused_with_what_it_has(server: Server, registry: Registry) -> None:
    server.on(f"{MANIFESTS}/1.0", Answer(INDEX))
    with pytest.raises(ArtifactError, match=r"no image for Windows build 17763; there is: windows/amd64 10\.0\.20348\.5499") as caught:
        registry.lock_image(REFERENCE, 17763)
    assert REFERENCE in caught.value.what
    assert "base image" in caught.value.hint


class TestSingleManifests:
    """A tag without an index: containerd takes its manifest on every host."""

    def _serve(self, server: Server, **config: str) -> bytes:
        body = _json(config)
        manifest = _json({"config": {"digest": _digest(body), "size": len(body)}, "layers": [{"digest": _digest(b"l"), "size": 1000}]})
        server.on(f"{MANIFESTS}/1.0", Answer(manifest))
        server.on(f"/{HOST}/v2/team/thing/blobs/{_digest(body)}", Answer(body))
        return manifest

    def test_its_manifest_is_the_digest(self, server: Server, registry: Registry) -> None:
        manifest = self._serve(server, os="windows", architecture="amd64", **{"os.version": "10.0.17763.1"})
        locked = registry.lock_image(REFERENCE, BUILD)
        assert locked.digest == locked.manifest == _digest(manifest)
        assert locked.os_version == "10.0.17763.1"
        assert locked.size_bytes > 1000
        assert [blob.size_bytes for blob in locked.blobs] == [locked.size_bytes - 1000, 1000]

    def test_one_for_linux_is_refused(self, server: Server, registry: Registry) -> None:
        self._serve(server, os="linux", architecture="arm64")
        with pytest.raises(ArtifactError, match="is an image for linux/arm64, not for Windows"):
            registry.lock_image(REFERENCE, BUILD)

    def test_a_config_of_other_bytes_is_refused(self, server: Server, registry: Registry) -> None:
        manifest = _json({"config": {"digest": _digest(b"promised"), "size": 8}, "layers": []})
        server.on(f"{MANIFESTS}/1.0", Answer(manifest))
        server.on(f"/{HOST}/v2/team/thing/blobs/{_digest(b'promised')}", Answer(b"{}"))
        with pytest.raises(ArtifactError, match="have the digest"):
            registry.lock_image(REFERENCE, BUILD)


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"manifests": 1},
        {"manifests": [{"platform": PLATFORM}]},
        {"config": {}},
        {"config": {"digest": 1}},
    ],
)
def test_an_image_against_the_specification_is_refused(server: Server, registry: Registry, content: Any) -> None:
    server.on(f"{MANIFESTS}/1.0", Answer(_json(content)))
    with pytest.raises(ArtifactError, match=r"OCI specification|HTTP 404") as caught:
        registry.lock_image(REFERENCE, BUILD)
    assert caught.value.hint


def test_layers_that_lie_elsewhere_or_have_another_kind_of_digest_are_not_among_an_images_blobs(server: Server, registry: Registry) -> None:
    foreign = _layer(None, b"base") | {"urls": ["https://elsewhere.example/base"]}
    longer = _layer(None, b"longer") | {"digest": "sha512:" + "0" * 128}
    own, config = _layer(None, b"own"), _layer(None, b"config")
    body = _json({"config": config, "layers": [foreign, longer, own, own]})
    server.on(f"{MANIFESTS}/1.0", Answer(_json({"manifests": [{"digest": _digest(body), "platform": PLATFORM}]})))
    server.on(f"{MANIFESTS}/{_digest(body)}", Answer(body))
    locked = registry.lock_image(REFERENCE, BUILD)
    assert [f"sha256:{blob.sha256}" for blob in locked.blobs] == [config["digest"], own["digest"]]
    assert locked.size_bytes == sum(part["size"] for part in (config, foreign, longer, own, own))


def test_sizes_that_are_none_are_against_the_specification(server: Server, registry: Registry) -> None:
    body = _json({"config": {"digest": _digest(b"c"), "size": "many"}, "layers": []})
    server.on(f"{MANIFESTS}/1.0", Answer(_json({"manifests": [{"digest": _digest(body), "platform": PLATFORM}]})))
    server.on(f"{MANIFESTS}/{_digest(body)}", Answer(body))
    with pytest.raises(ArtifactError, match="OCI specification"):
        registry.lock_image(REFERENCE, BUILD)


def test_an_artifact_is_locked_with_its_titled_files(server: Server, registry: Registry) -> None:
    server.on(f"{MANIFESTS}/1.0", Answer(ARTIFACT))
    locked = registry.lock_artifact(REFERENCE)
    assert locked.digest == _digest(ARTIFACT)
    assert [(file.title, file.sha256, file.size_bytes) for file in locked.files] == [("a.zip", hashlib.sha256(b"first").hexdigest(), 5)]
    assert Registry.blob_url(REFERENCE, "ab") == f"https://{HOST}/v2/team/thing/blobs/sha256:ab"


def test_a_container_image_is_no_artifact(server: Server, registry: Registry) -> None:
    server.on(f"{MANIFESTS}/1.0", Answer(INDEX))
    with pytest.raises(ArtifactError, match="no files with a title") as caught:
        registry.lock_artifact(REFERENCE)
    assert "container image" in caught.value.hint


@pytest.mark.parametrize(
    "layers",
    [
        [{"annotations": {"org.opencontainers.image.title": "a"}}],
        [{**_layer("a", b"x"), "digest": "sha512:" + "0" * 128}],
        [{**_layer("a", b"x"), "size": -1}],
        ["text"],
        {"a": 1},
    ],
)
def test_a_manifest_against_the_specification_is_refused(server: Server, registry: Registry, layers: Any) -> None:
    server.on(f"{MANIFESTS}/1.0", Answer(_json({"layers": layers})))
    with pytest.raises(ArtifactError, match="OCI specification"):
        registry.lock_artifact(REFERENCE)


def test_bytes_of_another_digest_than_was_asked_for_are_refused(server: Server, registry: Registry) -> None:
    wanted = _digest(b"what was promised")
    server.on(f"{MANIFESTS}/{wanted}", Answer(INDEX, headers={"Docker-Content-Digest": wanted}))
    with pytest.raises(ArtifactError, match=_digest(INDEX)):
        registry.manifest(HOST, "team/thing", wanted)


def test_a_manifest_by_its_digest_is_given_when_a_second_try_has_the_right_bytes(server: Server, registry: Registry) -> None:
    server.on(f"{MANIFESTS}/{_digest(INDEX)}", Answer(INDEX[:-1]), Answer(INDEX))
    found = registry.manifest(HOST, "team/thing", _digest(INDEX))
    assert (found.digest, found.content) == (_digest(INDEX), json.loads(INDEX))


def test_a_missing_tag_is_named_and_not_asked_for_again(server: Server, registry: Registry) -> None:
    with pytest.raises(ArtifactError, match=rf"https://{HOST}/v2/team/thing/manifests/1\.0: HTTP 404"):
        registry.lock_image(REFERENCE, BUILD)
    assert len(server.asked) == 1


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"\xff\xfe", b"null"])
def test_an_answer_that_is_no_json_object_is_refused(server: Server, registry: Registry, body: bytes) -> None:
    server.on(f"{MANIFESTS}/1.0", Answer(body))
    with pytest.raises(ArtifactError, match="not a JSON object"):
        registry.lock_image(REFERENCE, BUILD)


def test_an_oversized_manifest_is_refused(server: Server, registry: Registry) -> None:
    server.on(f"{MANIFESTS}/1.0", Answer(b" " * (4 * 1024 * 1024 + 1)))
    with pytest.raises(ArtifactError, match="4 MiB"):
        registry.lock_image(REFERENCE, BUILD)


def test_a_registry_that_is_too_busy_is_asked_again_when_it_says(server: Server, registry: Registry, manifest: None) -> None:
    server.on(f"{MANIFESTS}/1.0", Answer(status=429, headers={"Retry-After": "1"}), Answer(INDEX))
    assert registry.lock_image(REFERENCE, BUILD).digest == _digest(INDEX)
    assert 0.95 < server.asked[1].at - server.asked[0].at < 3


class TestTokens:
    """Registries that want a token also for anonymous pulls."""

    pytestmark = pytest.mark.usefixtures("manifest")

    CHALLENGE = 'Bearer realm="https://auth.example/token",service="registry.example",scope="repository:team/thing:pull",error="x"'

    def _challenge(self, server: Server, challenge: str = CHALLENGE) -> None:
        server.on(f"{MANIFESTS}/1.0", Answer(status=401, headers={"WWW-Authenticate": challenge}), Answer(INDEX))

    @pytest.mark.parametrize("name", ["token", "access_token"])
    def test_a_challenge_is_followed_for_an_anonymous_token(self, server: Server, registry: Registry, name: str) -> None:
        self._challenge(server)
        server.on("/auth.example/token", Answer(_json({name: "t0"})))
        assert registry.lock_image(REFERENCE, BUILD).digest == _digest(INDEX)
        first, token, second, _manifest = server.asked
        assert "Authorization" not in first.headers | token.headers
        assert httpx.URL(token.target).params.multi_items() == [("service", "registry.example"), ("scope", "repository:team/thing:pull")]
        assert second.headers["Authorization"] == "Bearer t0"

    @pytest.mark.parametrize("challenge", ['Basic realm="https://auth.example/token"', 'Bearer realm="http://auth.example/token"', ""])
    def test_a_registry_that_wants_a_password_or_plain_http_gets_nothing(self, server: Server, registry: Registry, challenge: str) -> None:
        self._challenge(server, challenge)
        with pytest.raises(ArtifactError, match="wants credentials"):
            registry.lock_image(REFERENCE, BUILD)
        assert len(server.asked) == 1

    def test_a_token_that_does_not_help_is_the_end(self, server: Server, registry: Registry) -> None:
        server.on(f"{MANIFESTS}/1.0", Answer(status=401, headers={"WWW-Authenticate": self.CHALLENGE}))
        server.on("/auth.example/token", Answer(_json({"token": "t0"})))
        with pytest.raises(ArtifactError, match="HTTP 401") as caught:
            registry.lock_image(REFERENCE, BUILD)
        assert len(server.asked) == 3
        assert "t0" not in str(caught.value)

    @pytest.mark.parametrize(
        ("answer", "reason"),
        [(Answer(status=403), "HTTP 403"), (Answer(b"oops"), "not a JSON object"), (Answer(b"{}"), "no token")],
    )
    def test_a_token_service_that_gives_no_token_is_named(self, server: Server, registry: Registry, answer: Answer, reason: str) -> None:
        self._challenge(server)
        server.on("/auth.example/token", answer)
        with pytest.raises(ArtifactError, match=reason):
            registry.lock_image(REFERENCE, BUILD)

    def test_a_busy_token_service_is_asked_again(self, server: Server, registry: Registry) -> None:
        refusal = Answer(status=401, headers={"WWW-Authenticate": self.CHALLENGE})
        server.on(f"{MANIFESTS}/1.0", refusal, refusal, Answer(INDEX))
        server.on("/auth.example/token", Answer(status=503), Answer(_json({"token": "t0"})))
        assert registry.lock_image(REFERENCE, BUILD).digest == _digest(INDEX)

    def test_a_blob_comes_from_where_the_registry_sends_its_reader_who_keeps_the_token_to_himself(
        self, server: Server, registry: Registry
    ) -> None:
        blob = f"/{HOST}/v2/team/thing/blobs/{_digest(b'layer')}"
        with serving() as cdn:
            redirect = Answer(status=307, headers={"Location": cdn.on("/data", Answer(b"layer"))})
            server.on(blob, Answer(status=401, headers={"WWW-Authenticate": self.CHALLENGE}), redirect)
            server.on("/auth.example/token", Answer(_json({"token": "t0"})))
            with registry.streamed_blob(f"https:/{blob}") as response:
                assert response.read() == b"layer"
            assert [asked.headers.get("Authorization") for asked in server.asked] == [None, None, "Bearer t0"]
            assert ["Authorization" in asked.headers for asked in cdn.asked] == [False]

    def test_a_blob_that_is_refused_for_ever_is_told_as_it_was_refused(self, server: Server, registry: Registry) -> None:
        with pytest.raises(FetchFailed, match="HTTP 404"), registry.streamed_blob(f"https://{HOST}/v2/team/thing/blobs/sha256:0"):
            pass
        assert len(server.asked) == 1
