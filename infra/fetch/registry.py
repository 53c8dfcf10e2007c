"""The pull side of the OCI distribution API: digests of tags, what a Windows host takes of an image, and the files of an artifact.

Specification: https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md. mcr.microsoft.com serves anonymous pulls without
a token; registries that want one answer 401 with a Bearer challenge, which is followed for anonymous pulls.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import httpx

from images.container_platform import host_entry, platforms_of
from images.errors import ArtifactError
from images.lock import LockedBlob, LockedContainerImage, LockedOciArtifact, LockedOciFile
from infra.fetch.http import FetchFailed, broken, fetch, refused, streamed

_MEDIA_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_SHA256 = "sha256:"
_TITLE = "org.opencontainers.image.title"
_MANIFEST_LIMIT_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class Manifest:
    """A manifest or index as the registry serves it; its digest is computed here, not believed."""

    digest: str
    content: dict[str, Any]


def split_reference(reference: str) -> tuple[str, str, str]:
    """(registry, repository, tag) of registry/repository:tag."""
    registry, _, rest = reference.partition("/")
    repository, _, tag = rest.rpartition(":")
    return registry, repository, tag


def _json_object(response: httpx.Response) -> dict[str, Any]:
    try:
        content = json.loads(response.content)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise FetchFailed("the registry's answer is not a JSON object", again=False)
    return content


def _pulled_bytes(manifest: Manifest) -> int:
    """Size of config and layers, as the manifest gives them."""
    return sum(int(part["size"]) for part in (manifest.content["config"], *manifest.content["layers"]))


def _blobs(manifest: Manifest) -> tuple[LockedBlob, ...]:
    """Config and layers that lie beside the manifest, each once.

    Not layers with `urls`, as old Windows base layers are: their registry need not hold them, and containerd asks those addresses first
    (core/remotes/docker/fetcher.go).
    """
    beside = [part for part in (manifest.content["config"], *manifest.content["layers"]) if not part.get("urls")]
    sizes = {str(part["digest"]): int(part["size"]) for part in beside if str(part["digest"]).startswith(_SHA256)}
    return tuple(LockedBlob(sha256=digest.removeprefix(_SHA256), size_bytes=size) for digest, size in sizes.items())


def _against_specification(reference: str) -> NoReturn:
    raise ArtifactError(
        f"the manifest of {reference} is not as the OCI specification says", hint="look at it with a registry client, such as oras"
    ) from None


class Registry:
    """Reads registries through one HTTP client; `route` gives the address to ask for a public URL."""

    def __init__(self, client: httpx.Client, route: Callable[[str], str], *, first_wait_s: float = 1.0) -> None:
        self._client = client
        self._route = route
        self._first_wait_s = first_wait_s

    def manifest(self, registry: str, repository: str, reference: str) -> Manifest:
        """The manifest or index behind a tag or digest; raises ArtifactError when it is not there or does not fit its digest."""
        return self._document(f"https://{registry}/v2/{repository}/manifests/{reference}", reference)

    def _document(self, url: str, reference: str) -> Manifest:
        def once() -> Manifest:
            response = self._get(url, {"Accept": ", ".join(_MEDIA_TYPES)})
            if len(response.content) > _MANIFEST_LIMIT_BYTES:
                raise FetchFailed("the manifest is larger than 4 MiB", again=False)
            digest = "sha256:" + hashlib.sha256(response.content).hexdigest()
            if reference.startswith("sha256:") and digest != reference:
                raise FetchFailed(f"the registry's bytes have the digest {digest}", again=True)
            return Manifest(digest, _json_object(response))

        return fetch(once, url, first_wait_s=self._first_wait_s)

    def _get(self, url: str, headers: dict[str, str]) -> httpx.Response:
        try:
            response = self._client.get(self._route(url), headers=headers)
            if response.status_code == httpx.codes.UNAUTHORIZED:
                token = self._token(response.headers.get("WWW-Authenticate", ""))
                response = self._client.get(self._route(url), headers=headers | {"Authorization": f"Bearer {token}"})
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise broken(error) from error
        if response.status_code != httpx.codes.OK:
            raise refused(response)
        return response

    @contextmanager
    def streamed_blob(self, url: str) -> Iterator[httpx.Response]:
        """An open response of one try for a blob's public URL, wherever the registry sends it; raises FetchFailed.

        A token goes to the registry only: httpx drops it when a redirect leads to another host, such as the registry's CDN
        (https://github.com/encode/httpx/blob/master/httpx/_client.py, _redirect_headers).
        """
        address = self._route(url)
        with ExitStack() as stack:
            try:
                response = stack.enter_context(streamed(self._client, address))
            except FetchFailed as refusal:
                if not refusal.challenge:
                    raise
                try:
                    headers = {"Authorization": f"Bearer {self._token(refusal.challenge)}"}
                except (httpx.HTTPError, httpx.InvalidURL) as error:
                    raise broken(error) from error
                response = stack.enter_context(streamed(self._client, address, headers=headers))
            yield response

    def _token(self, challenge: str) -> str:
        fields = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        realm = fields.get("realm", "")
        if not challenge.lower().startswith("bearer ") or not realm.startswith("https://"):
            raise FetchFailed("the registry wants credentials", again=False)
        wanted = {name: fields[name] for name in ("service", "scope") if name in fields}
        response = self._client.get(self._route(realm), params=wanted)
        if response.status_code != httpx.codes.OK:
            failure = refused(response)
            raise FetchFailed(f"the registry's token service answered {failure}", again=failure.again, retry_after_s=failure.retry_after_s)
        content = _json_object(response)
        token = content.get("token") or content.get("access_token")
        if not isinstance(token, str):
            raise FetchFailed("the registry's token service gives no token", again=False)
        return token

    def lock_image(self, reference: str, windows_build: int) -> LockedContainerImage:
        """A container image's digest (the index's where the tag names one), and the manifest that a host of this Windows build takes.

        Raises ArtifactError, with what there is, when the image has none for that build. A tag without an index has one manifest for every
        host, and containerd does not look at its os.version (core/images/image.go, Manifest: the platform is asked of an index's entries);
        it must still be an image for Windows.
        """
        registry, repository, tag = split_reference(reference)
        top = self.manifest(registry, repository, tag)
        try:
            if "manifests" not in top.content:
                return self._single_image(reference, top)
            entries = list(top.content["manifests"])
            entry = host_entry(entries, windows_build)
            if entry is None:
                there = ", ".join(platforms_of(entries)) or "nothing"
                raise ArtifactError(
                    f"{reference} has no image for Windows build {windows_build}; there is: {there}",
                    hint="take a tag that has one, or a base image of another Windows build",
                )
            chosen = self.manifest(registry, repository, str(entry["digest"]))
            return LockedContainerImage(
                reference=reference,
                digest=top.digest,
                manifest=chosen.digest,
                os_version=entry["platform"].get("os.version") or None,
                size_bytes=_pulled_bytes(chosen),
                blobs=_blobs(chosen),
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            _against_specification(reference)

    def _single_image(self, reference: str, top: Manifest) -> LockedContainerImage:
        registry, repository, _ = split_reference(reference)
        digest = str(top.content["config"]["digest"])
        config = self._document(f"https://{registry}/v2/{repository}/blobs/{digest}", digest).content
        if config.get("os") != "windows":
            raise ArtifactError(
                f"{reference} is an image for {config.get('os')}/{config.get('architecture')}, not for Windows",
                hint="take a tag that has an image for Windows",
            )
        version = config.get("os.version") or None
        return LockedContainerImage(
            reference=reference,
            digest=top.digest,
            manifest=top.digest,
            os_version=version,
            size_bytes=_pulled_bytes(top),
            blobs=_blobs(top),
        )

    def lock_artifact(self, reference: str) -> LockedOciArtifact:
        """An OCI artifact's digest and its titled files; raises ArtifactError when it has none."""
        registry, repository, tag = split_reference(reference)
        manifest = self.manifest(registry, repository, tag)
        try:
            files = tuple(
                LockedOciFile(title=layer["annotations"][_TITLE], sha256=layer["digest"].removeprefix("sha256:"), size_bytes=layer["size"])
                for layer in manifest.content.get("layers") or ()
                if _TITLE in (layer.get("annotations") or {})
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            _against_specification(reference)
        if not files:
            raise ArtifactError(f"{reference} has no files with a title", hint="is it an OCI artifact rather than a container image?")
        return LockedOciArtifact(reference=reference, digest=manifest.digest, files=files)

    @staticmethod
    def blob_url(reference: str, sha256: str) -> str:
        """The public URL of one blob of a reference's repository."""
        registry, repository, _ = split_reference(reference)
        return f"https://{registry}/v2/{repository}/blobs/sha256:{sha256}"
