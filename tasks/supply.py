"""The artifact supply of a build: fills the blob cache while the VM boots and hands out addresses as soon as a file is there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Container, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass

import httpx

from images.errors import ArtifactError, CancelledError
from images.lock import ImageLock, LockedBlob, LockedOciFile
from infra.azure.blob_storage import ArtifactCache
from infra.fetch.http import FetchFailed, fetch, make_client, streamed
from infra.fetch.registry import Registry

PARALLEL = 8
SAS_HOURS = 6.0


@dataclass(frozen=True)
class Artifact:
    """One file that the build needs: its public URL and the bytes it must have."""

    url: str
    sha256: str
    size_bytes: int
    in_registry: bool = False
    """True for a blob of a registry, which may want an anonymous token."""
    optional: bool = False
    """True where the guest can get it without the cache: a build goes on when it can not be fetched."""

    @property
    def name(self) -> str:
        """What a person calls it."""
        return self.url.partition("?")[0].rstrip("/").rsplit("/", 1)[-1]


def artifacts_of(lock: ImageLock) -> tuple[Artifact, ...]:
    """Every file of a lock that goes through the blob cache, each hash once: layers that several images share travel once."""
    files = [*lock.files, *(update.file for update in lock.updates if update.file is not None)]
    wanted = [Artifact(file.url, file.sha256, file.size_bytes) for file in files]
    for artifact in lock.oci_artifacts:
        wanted += [_blob(artifact.reference, file) for file in artifact.files]
    # Last, since the others hold up stages that nothing else can feed.
    wanted += [_blob(image.reference, blob, optional=True) for image in lock.container_images for blob in image.blobs]
    distinct: dict[str, Artifact] = {}
    for file in wanted:
        distinct.setdefault(file.sha256, file)
    return tuple(distinct.values())


def _blob(reference: str, blob: LockedOciFile | LockedBlob, *, optional: bool = False) -> Artifact:
    return Artifact(Registry.blob_url(reference, blob.sha256), blob.sha256, blob.size_bytes, in_registry=True, optional=optional)


class ArtifactSupply:
    """Files on their way into the cache; `address` waits for the file it is asked for and for no other."""

    def __init__(self, cache: ArtifactCache, route: Callable[[str], str], *, first_wait_s: float) -> None:
        self._cache = cache
        self._route = route
        self._first_wait_s = first_wait_s
        self._ready: dict[str, Future[None]] = {}
        self._optional: set[str] = set()
        self._stopped = threading.Event()
        self.fetched_bytes = 0
        self._count = threading.Lock()

    def expect(self, artifacts: Iterable[Artifact]) -> tuple[Artifact, ...]:
        """Announce files, so that a stage may wait for them before their fetch began; those that are not on their way yet."""
        announced = []
        for artifact in artifacts:
            known = self._ready.get(artifact.sha256)
            # An optional one that could not be had is not asked for again: the guest gets it without the cache.
            if known is None or (known.done() and known.exception() is not None and not artifact.optional):
                self._ready[artifact.sha256] = Future()
                announced.append(artifact)
            if artifact.optional:
                self._optional.add(artifact.sha256)
        return tuple(announced)

    def fill(self, artifacts: Sequence[Artifact], progress: Callable[[str, int, int], None]) -> None:
        """Bring every file into the cache, several at once; raises the first ArtifactError after the others have ended.

        An optional file that can not be had is told as progress, and nothing else.
        """
        self.expect(artifacts)
        distinct = {artifact.sha256: artifact for artifact in artifacts}
        wanted = [artifact for sha256, artifact in distinct.items() if not self._ready[sha256].done()]
        errors: list[BaseException] = []
        try:
            known = self._cache.known()
        except BaseException as unknown:
            # Whoever waits for a file must not wait for ever.
            for artifact in wanted:
                self._ready[artifact.sha256].set_exception(unknown)
            raise
        with make_client() as client, ThreadPoolExecutor(PARALLEL, thread_name_prefix="fetch") as pool:
            pending = {pool.submit(self._bring, client, artifact, known): artifact for artifact in wanted}
            for number, (future, artifact) in enumerate(pending.items(), 1):
                error = future.exception()
                if error is not None and not (artifact.optional and isinstance(error, ArtifactError)):
                    errors.append(error)
                remark = f"{artifact.name}: not cached, {error}" if error is not None else artifact.name
                progress(remark, number, len(wanted))
        if errors:
            raise errors[0]

    def abandon(self, artifacts: Iterable[Artifact]) -> None:
        """Of these files no more will come: whoever still waits for one gets an ArtifactError instead of waiting for ever."""
        for artifact in artifacts:
            ready = self._ready[artifact.sha256]
            if not ready.done():
                ready.set_exception(ArtifactError("the fetch ended before this file", hint="the run's log says why"))

    def stop(self) -> None:
        """Let fetches that have not begun fail at once."""
        self._stopped.set()

    def _bring(self, client: httpx.Client, artifact: Artifact, known: Container[str]) -> None:
        ready = self._ready[artifact.sha256]
        try:
            if self._stopped.is_set():
                raise CancelledError("the build was stopped")  # noqa: TRY301
            if artifact.sha256 not in known:
                fetch(lambda: self._transfer(client, artifact), artifact.url, first_wait_s=self._first_wait_s)
                with self._count:
                    self.fetched_bytes += artifact.size_bytes
            ready.set_result(None)
        except BaseException as error:
            ready.set_exception(error)
            raise

    def _transfer(self, client: httpx.Client, artifact: Artifact) -> None:
        with self._open(client, artifact) as response:
            try:
                self._cache.put_stream(artifact.sha256, response.iter_raw(), size_bytes=artifact.size_bytes)
            except ArtifactError as error:
                # Wrong bytes may be a broken transfer: worth another try, and an error that names the file when it stays wrong.
                raise FetchFailed(error.what, again=True, hint=error.hint) from None

    def _open(self, client: httpx.Client, artifact: Artifact) -> AbstractContextManager[httpx.Response]:
        if artifact.in_registry:
            return Registry(client, self._route).streamed_blob(artifact.url)
        return streamed(client, self._route(artifact.url))

    def address(self, sha256: str) -> str:
        """A read SAS for a file, once it is in the cache; raises what its fetch raised.

        Empty for an optional file that can not be had.
        """
        try:
            self._ready[sha256].result()
        except ArtifactError:
            if sha256 not in self._optional:
                raise
            return ""
        return self._cache.read_sas(sha256, SAS_HOURS).get_secret_value()
