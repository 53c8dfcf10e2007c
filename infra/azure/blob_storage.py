"""Blobs of a build: the content-addressed cache of artifacts, and the folder of a build's results."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from images.errors import ArtifactError, CloudError
from infra.azure.blob_sas import read_sas
from infra.azure.profile import StorageAccess
from infra.azure.refusals import error_code, refusals
from infra.azure.session import BLOCK_BYTES, Cloud

if TYPE_CHECKING:
    from azure.storage.blob import BlobClient

Progress = Callable[[int, int | None], None]
"""(bytes done, bytes in all or None)"""

CACHE_CONTAINER = "cache"
BUILDS_CONTAINER = "builds"
BEING_DELETED = "ContainerBeingDeleted"
"""Storage's code while a deleted container's name is not free yet."""


def ensure_container(cloud: Cloud, name: str, access: StorageAccess | None = None, *, patience_s: float = 300) -> None:
    """Make the container when it is absent; waits while one of that name is being deleted. Raises CloudError.

    A name is free again 30 s after its container was deleted, or later: https://learn.microsoft.com/rest/api/storageservices/delete-container.
    """
    from azure.core.exceptions import ResourceExistsError

    ends_at = time.monotonic() + patience_s
    with refusals(f"make container {name}"):
        while True:
            try:
                cloud.blobs(access).create_container(name).close()
            except ResourceExistsError as error:
                # The SDK takes both for "it exists".
                if error_code(error) != BEING_DELETED:
                    return
                if time.monotonic() >= ends_at:
                    raise
            else:
                return
            cloud.wait.pause()


class ArtifactCache:
    """Files by their sha256. What is there under a name has that hash: a blob appears only after all its bytes were hashed."""

    def __init__(self, cloud: Cloud, *, container: str = CACHE_CONTAINER, prefix: str = "", access: StorageAccess | None = None) -> None:
        self._cloud = cloud
        self._container = container
        self._prefix = prefix
        self._access = access

    def blob_name(self, sha256: str) -> str:
        """Where a file lies in the container."""
        return f"{self._prefix}sha256/{sha256}"

    def has(self, sha256: str) -> bool:
        """True when the file is there. Raises CloudError."""
        with refusals("look into the artifact cache"), self._client(sha256) as blob:
            return blob.exists()

    def known(self) -> dict[str, int]:
        """Every file of the cache: sha256 to size in bytes. Raises CloudError."""
        start = self.blob_name("")
        with refusals("list the artifact cache"), self._cloud.blobs(self._access).get_container_client(self._container) as container:
            return {blob.name.removeprefix(start): int(blob.size or 0) for blob in container.list_blobs(name_starts_with=start)}

    def put_stream(
        self, sha256: str, chunks: Iterable[bytes], *, size_bytes: int | None = None, on_progress: Progress = lambda _done, _total: None
    ) -> int:
        """Store a file while it comes in, and give its size; ArtifactError when its hash or size is another. Raises CloudError.

        Blocks are staged and only committed once the hash is right: a wrong, short or interrupted stream leaves nothing that can be read.
        """
        digest = hashlib.sha256()
        done = 0
        names: list[str] = []
        with self._client(sha256) as blob:
            for block in _blocks(chunks):
                digest.update(block)
                # Named by place and content: a second writer of the same file stages the same names.
                name = f"{len(names):06d}-{hashlib.sha256(block).hexdigest()[:24]}"
                with refusals("upload to the artifact cache"):
                    blob.stage_block(name, block, length=len(block))
                names.append(name)
                done += len(block)
                on_progress(done, size_bytes)
            if digest.hexdigest() != sha256 or (size_bytes is not None and size_bytes != done):
                raise ArtifactError(
                    f"the file has sha256 {digest.hexdigest()} and {done} bytes, promised were {sha256}"
                    + (f" and {size_bytes} bytes" if size_bytes is not None else ""),
                    hint="if its publisher replaced the file, review the change and refresh the lock",
                )
            self._commit(blob, names)
        return done

    def put_file(self, sha256: str, path: Path, on_progress: Progress = lambda _done, _total: None) -> int:
        """Store a local file, and give its size; ArtifactError when its hash is another. Raises CloudError."""
        with path.open("rb") as file:
            chunks = iter(lambda: file.read(BLOCK_BYTES), b"")
            return self.put_stream(sha256, chunks, size_bytes=path.stat().st_size, on_progress=on_progress)

    def read_sas(self, sha256: str, hours: float) -> SecretStr:
        """A URL to read this one file with, for so many hours. Raises CloudError."""
        return read_sas(self._cloud, self._container, self.blob_name(sha256), hours=hours, access=self._access)

    def _commit(self, blob: BlobClient, names: list[str]) -> None:
        from azure.core import MatchConditions
        from azure.storage.blob import BlobBlock

        try:
            with refusals("complete a file of the artifact cache"):
                blob.commit_block_list([BlobBlock(name) for name in names], match_condition=MatchConditions.IfMissing)
        except CloudError as error:
            # Another writer was first: it committed the same bytes, and its commit discarded our staged blocks.
            first = {HTTPStatus.CONFLICT, HTTPStatus.PRECONDITION_FAILED, HTTPStatus.BAD_REQUEST}
            if error.status not in first:
                raise
            with refusals("look into the artifact cache"):
                there = blob.exists()
            if not there:
                raise

    def _client(self, sha256: str) -> BlobClient:
        return self._cloud.blobs(self._access).get_blob_client(self._container, self.blob_name(sha256))


class BuildBlobs:
    """The results of one build in blob storage, under the build's id."""

    def __init__(self, cloud: Cloud, build_id: str, *, container: str = BUILDS_CONTAINER) -> None:
        self._cloud = cloud
        self.container = container
        self.build_id = build_id

    def blob_name(self, name: str) -> str:
        """Where a result lies in the container."""
        return f"{self.build_id}/{name}"

    def client(self, name: str) -> BlobClient:
        """A client of one result; the caller closes it."""
        return self._cloud.blobs().get_blob_client(self.container, self.blob_name(name))

    def put_file(
        self,
        name: str,
        path: Path,
        content_type: str = "application/octet-stream",
        on_progress: Progress = lambda _done, _total: None,
    ) -> str:
        """Store a local file as a result, replacing an earlier one, and give its URL. Raises CloudError."""
        from azure.storage.blob import ContentSettings

        with path.open("rb") as file, refusals(f"upload {name}"), self.client(name) as blob:
            blob.upload_blob(
                file,
                length=path.stat().st_size,
                overwrite=True,
                max_concurrency=2,
                content_settings=ContentSettings(content_type=content_type),
                progress_hook=on_progress,
            )
        return self.url(name)

    def list(self) -> dict[str, int]:
        """The results there are: name to size in bytes. Raises CloudError."""
        start = self.blob_name("")
        with refusals(f"list the results of build {self.build_id}"), self._cloud.blobs().get_container_client(self.container) as container:
            return {blob.name.removeprefix(start): int(blob.size or 0) for blob in container.list_blobs(name_starts_with=start)}

    def url(self, name: str) -> str:
        """The address of a result; reading it needs rights or a SAS."""
        with self.client(name) as blob:
            return str(blob.url)

    def read_sas(self, name: str, hours: float) -> SecretStr:
        """A URL to read this one result with, for so many hours. Raises CloudError."""
        return read_sas(self._cloud, self.container, self.blob_name(name), hours=hours)


def _blocks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in blocks of BLOCK_BYTES; the last one may be shorter, and an empty file has none."""
    waiting = bytearray()
    for chunk in chunks:
        waiting += chunk
        while len(waiting) >= BLOCK_BYTES:
            yield bytes(waiting[:BLOCK_BYTES])
            del waiting[:BLOCK_BYTES]
    if waiting:
        yield bytes(waiting)
