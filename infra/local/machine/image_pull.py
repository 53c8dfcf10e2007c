"""Pulling container images into containerd's store: the client side of the OCI distribution API, as ctr.exe does it.

`ctr images pull repository@digest` records that very name, and the CRI plugin, told of it, the config's digest; `ctr images tag` adds the
name by tag, with the same target (containerd: cmd/ctr/commands/images, internal/cri/server/images/image_pull.go).

The script's mirror is part of the model: in a pull's first try containerd asks it for each blob, follows it to the blob cache where that
has one, and asks the registry for what it does not get (docs/hosts.md). Seen with ctr and containerd 1.6: after 403, 404 and a refused
connection the registry is asked, without a word from ctr; wrong bytes end the pull.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from images.stages.content import ImageToPull, PulledImage
from infra.local.machine import containerd
from infra.local.machine.containerd import StoredImage
from infra.local.machine.downloads import in_parallel, with_attempts
from infra.local.machine.stage_run import StageFailureError, StageRun

_ACCEPT = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)

_CODES = ("disk-full", "manifest-unknown", "pull-failed")
"""Codes that the script knows; it reads ctr's text, and everything else in there is a pull that failed."""


@dataclass(frozen=True)
class _Repository:
    registry: str
    name: str

    @classmethod
    def of(cls, reference: str) -> _Repository:
        registry, _, rest = reference.partition("/")
        return cls(registry, rest.rpartition(":")[0])

    def by_digest(self, digest: str) -> str:
        """The name that is pulled."""
        return f"{self.registry}/{self.name}@{digest}"

    def url(self, kind: str, digest: str) -> str:
        return f"https://{self.registry}/v2/{self.name}/{kind}/{digest}"


@dataclass(frozen=True)
class _Pulled:
    names: tuple[StoredImage, ...]
    outcome: PulledImage


class _Sources:
    """Where the blobs of one try come from."""

    def __init__(self, mirror: Mapping[str, str]) -> None:
        self.mirror = mirror
        """Read URL by digest of the blobs that the cache has."""
        self.cache = False
        """True when a blob came from the cache."""
        self.registry = False
        """True when one came from its registry."""


class ImagePuller:
    """Pulls for one run of the stage; blobs that several images share travel once."""

    def __init__(self, run: StageRun, client: httpx.Client) -> None:
        self._run = run
        self._client = client
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()
        self._unpacking = threading.Lock()
        """Layers are unpacked by all pulls onto one disk, which sets the pace: at the same time they would take as long as in turn."""
        self.written = 0
        """Blobs that were not in the store before."""

    def pull_all(self, images: Sequence[ImageToPull], parallel: int, attempts: int) -> tuple[tuple[PulledImage, ...], bool]:
        """(outcomes in order, True when anything changed); StageFailureError when one image can not be pulled."""
        done: list[str] = []
        before = {image.name: image for image in containerd.images(self._run.disk)}
        mirror = self._mirror([image for image in images if not _is_named(image, before)])

        def pull(image: ImageToPull) -> _Pulled:
            if _is_named(image, before):
                return _Pulled((), PulledImage(reference=image.reference, digest=image.digest, attempts=0))
            sources = iter([_Sources(mirror)])
            try:
                # The first try goes through the mirror, the others straight to the registry.
                names, tries = with_attempts(self._run, attempts, lambda: self._pull(image, next(sources, _Sources({}))))
            except StageFailureError as error:
                if error.code in _CODES:
                    raise
                raise StageFailureError("pull-failed", f"{image.reference}: {error}") from error
            done.append(image.reference)
            self._run.progress(f"{image.reference}", len(done), len(images))
            return _Pulled(names, PulledImage(reference=image.reference, digest=image.digest, attempts=tries))

        pulled = in_parallel(pull, images, parallel)
        after = before | {name.name: name for one in pulled for name in one.names}
        changed = after != before
        if changed:
            containerd.write_images(self._run.disk, tuple(after.values()), self._run.now)
        return tuple(one.outcome for one in pulled), changed or self.written > 0

    def _mirror(self, images: Sequence[ImageToPull]) -> dict[str, str]:
        addresses: dict[str, str] = {}
        for image in images:
            for sha256, url in image.blobs.items():
                if url:
                    addresses[f"sha256:{sha256}"] = url
                else:
                    lacking = f"{image.reference}: the cache does not have sha256:{sha256}, it comes from the registry"
                    self._run.context.emit_stderr(f"{lacking}\r\n")
        return addresses

    def _pull(self, image: ImageToPull, sources: _Sources) -> tuple[StoredImage, ...]:
        repository, began = _Repository.of(image.reference), time.monotonic()
        top = self._manifest(repository, image)
        document = json.loads(top)
        media_type = str(document["mediaType"])
        manifest = document
        if "manifests" in document:
            descriptor = containerd.host_manifest(document, self._run.machine.build)
            if descriptor is None:
                build = self._run.machine.build
                raise StageFailureError("pull-failed", f"{image.reference}: no match for platform windows/amd64 build {build} in manifest")
            manifest = json.loads(self._blob(repository, "manifests", descriptor, _Sources({})))
        parts = (manifest["config"], *manifest["layers"])
        is_there = all(containerd.has_blob(self._run.disk, str(part["digest"])) for part in parts)
        for part in parts:
            self._run.check_stopped()
            self._blob(repository, "blobs", part, sources)
        if sources.registry or sources.cache:
            # Both at once where a part came from each; an image whose parts came with another one takes no time of its own.
            operation = "guest.image-transfer" if sources.registry else "guest.image-blob"
            self._run.take(operation, image.reference, since=began)
        if not is_there:
            with self._unpacking:
                self._run.take("guest.image-unpack", image.reference)
        self._keep(image.digest, top)
        pulled = (repository.by_digest(image.digest), manifest["config"]["digest"])
        return tuple(StoredImage(name, image.digest, media_type, len(top)) for name in (*pulled, image.reference))

    def _manifest(self, repository: _Repository, image: ImageToPull) -> bytes:
        """The index or manifest that was asked for by its digest, wherever the tag points now."""
        try:
            content = self._get(repository.url("manifests", image.digest)).content
        except StageFailureError as error:
            if error.http_status == httpx.codes.NOT_FOUND:
                message = f"{image.reference}: the registry does not have {repository.by_digest(image.digest)}"
                raise StageFailureError("manifest-unknown", message) from error
            raise
        actual = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if actual != image.digest:
            # Spoiled on its way: another try may cure it.
            raise StageFailureError("hash-mismatch", f"expected {image.digest}, got {actual}")
        return content

    def _blob(self, repository: _Repository, kind: str, descriptor: dict[str, Any], sources: _Sources) -> bytes:
        digest = str(descriptor["digest"])
        with self._guard:
            lock = self._locks.setdefault(digest, threading.Lock())
        with lock:
            if containerd.has_blob(self._run.disk, digest):
                return containerd.read_blob(self._run.disk, digest) or b""
            content = self._cached(digest, sources)
            if content is None:
                content = self._get(repository.url(kind, digest)).content
                sources.registry = True
            actual = f"sha256:{hashlib.sha256(content).hexdigest()}"
            if actual != digest:
                raise StageFailureError("hash-mismatch", f"expected {digest}, got {actual}")
            self._keep(digest, content)
            return content

    def _cached(self, digest: str, sources: _Sources) -> bytes | None:
        """What the mirror leads to, None when it leads nowhere or is refused there."""
        url = sources.mirror.get(digest)
        if url is None:
            return None
        try:
            content = self._run.fetch(self._client, url).content
        except StageFailureError as error:
            if error.code == "network-unreachable":
                raise
            return None
        sources.cache = True
        return content

    def _keep(self, digest: str, content: bytes) -> None:
        if containerd.has_blob(self._run.disk, digest):
            return
        self._run.reserve(len(content))
        containerd.write_blob(self._run.disk, digest, content)
        with self._guard:
            self.written += 1

    def _get(self, url: str) -> httpx.Response:
        return self._run.fetch(self._client, url, {"Accept": _ACCEPT})


def _is_named(image: ImageToPull, stored: Mapping[str, StoredImage]) -> bool:
    """True when the tag has the digest already: it is set when a pull has come to its end."""
    return image.reference in stored and stored[image.reference].digest == image.digest
