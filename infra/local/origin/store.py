"""The origin's memory: bodies and blobs that were generated once are files in the state folder from then on."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path

from infra.local.origin.bodies import body_for, depends_on_time
from infra.local.origin.image_content import image_content


class OriginStore:
    """Generates what is asked for the first time and keeps it; safe to use from several threads."""

    def __init__(self, state: Path) -> None:
        self._folder = state / "origin"
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    def _lock(self, name: str) -> threading.Lock:
        with self._guard:
            return self._locks.setdefault(name, threading.Lock())

    def body(self, url: str) -> bytes:
        """The body of a public URL."""
        if depends_on_time(url):
            return body_for(url)
        file = self._folder / "bodies" / hashlib.sha256(url.encode()).hexdigest()
        with self._lock(file.name):
            if not file.exists():
                _write(file, body_for(url))
        return file.read_bytes()

    def blob(self, registry: str, repository: str, digest: str) -> bytes | None:
        """A blob or manifest of a repository by digest, None when it has none.

        It has what its tags held that were asked for so far, also after a tag moved on.
        """
        file = self._blob_file(digest)
        if file is None or not self._mark(registry, repository, digest).exists() or not file.exists():
            return None
        return file.read_bytes()

    def _blob_file(self, digest: str) -> Path | None:
        algorithm, _, value = digest.partition(":")
        if algorithm != "sha256" or len(value) != 64 or not all(letter in "0123456789abcdef" for letter in value):
            return None
        return self._folder / "blobs" / value

    def _mark(self, registry: str, repository: str, digest: str) -> Path:
        """An empty file that says that a repository holds a blob: registries give it to nobody who asks another repository."""
        name = hashlib.sha256(f"{registry}/{repository}".encode()).hexdigest()
        return self._folder / "repositories" / name / digest.removeprefix("sha256:")

    def _hold(self, registry: str, repository: str, digest: str) -> None:
        """The repository holds a manifest or index, and everything that it names, from now on."""
        mark, file = self._mark(registry, repository, digest), self._blob_file(digest)
        if mark.exists() or file is None or not file.exists():
            return
        document = json.loads(file.read_bytes())
        for manifest in document.get("manifests", ()):
            self._hold(registry, repository, manifest["digest"])
        for part in (document.get("config"), *document.get("layers", ())):
            if part is not None:
                _write(self._mark(registry, repository, part["digest"]), b"")
        # Last: whoever sees it sees the rest.
        _write(mark, b"")

    def tag(self, registry: str, repository: str, tag: str) -> str | None:
        """The digest that a tag points at, None when there is no such image; the repository holds its blobs from then on."""
        file = self._folder / "tags" / hashlib.sha256(f"{registry}/{repository}:{tag}".encode()).hexdigest()
        with self._lock(file.name):
            if not file.exists():
                content = image_content(repository, tag)
                if content is None:
                    return None
                for digest, body in content.blobs.items():
                    target = self._folder / "blobs" / digest.removeprefix("sha256:")
                    if not target.exists():
                        _write(target, body)
                _write(file, content.digest.encode())
            digest = file.read_text(encoding="utf-8")
            self._hold(registry, repository, digest)
        return digest

    def media_type(self, manifest: bytes) -> str:
        """What a manifest or index says it is."""
        return str(json.loads(manifest)["mediaType"])


def _write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.{threading.get_ident()}.part")
    part.write_bytes(content)
    part.replace(file)
