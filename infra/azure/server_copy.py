"""Copies a VHD into a page blob on the server side: the bytes go from storage to storage and never through this machine.

The way is Put Page From URL over the ranges that hold data: it skips the holes, runs several at a time, shows progress, and a copy that
broke off continues with the ranges that are missing. A service that does not know that operation (Azurite answers 501) is asked for one
Copy Blob instead, which is followed to its end; that one can not be resumed and starts again.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal

from pydantic import SecretStr

from images.errors import CloudError
from infra.azure.page_blob import PARALLEL, Progress, Span, chunks, data_spans, missing
from infra.azure.refusals import refusals
from infra.azure.session import Cloud, blob_options
from infra.redaction import redact

if TYPE_CHECKING:
    from azure.storage.blob import BlobClient, BlobProperties

SOURCE = "winvhd_source"
STATE = "winvhd_state"
SHA256 = "winvhd_sha256"
ATTEMPTS = 3


@dataclass(frozen=True)
class CopyOutcome:
    """How a copy went: `pages` by ranges, `blob` by one Copy Blob, `there` when a complete copy existed; sizes in bytes."""

    method: Literal["pages", "blob", "there"]
    size_bytes: int
    copied_bytes: int
    resumed: bool


def copy_on_server(
    cloud: Cloud,
    source_url: SecretStr,
    target: BlobClient,
    *,
    identity: str,
    on_progress: Progress = lambda _done, _total: None,
    on_event: Callable[[str], None] = lambda _: None,
) -> CopyOutcome:
    """Make `target` a copy of the page blob behind a read SAS. Raises CloudError; what was copied so far stays and is continued next time.

    `identity` names the content (a digest, a disk's id): only a part with the same identity is continued, another one is replaced.
    """
    from azure.storage.blob import BlobClient

    with BlobClient.from_blob_url(source_url.get_secret_value(), **blob_options(cloud.profile.poll_interval_s)) as source:
        with refusals("read the source of the copy"):
            size = int(source.get_blob_properties().size)
        existing = _existing(target)
        state = (existing.metadata or {}).get(STATE) if existing and _same(existing, size, identity) else None
        if state == "complete":
            return CopyOutcome("there", size, 0, resumed=False)
        if existing is not None and state != "partial":
            _remove(target)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                copied = _copy_pages(source, source_url, target, size, identity, create=state != "partial", on_progress=on_progress)
                _mark_complete(target, identity)
                return CopyOutcome("pages", size, copied, resumed=state == "partial" or attempt > 1)
            except CloudError as error:
                if error.status == HTTPStatus.NOT_IMPLEMENTED:
                    break
                if attempt == ATTEMPTS or error.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
                    raise
                on_event(f"the copy broke off ({error.code or error.status}), continuing with the missing ranges")
                state = "partial" if _existing(target) is not None else None
                cloud.wait.pause()
    on_event("the service has no Put Page From URL, copying the blob as a whole")
    _remove(target)
    _copy_blob(cloud, source_url, target, identity, on_progress)
    _mark_complete(target, identity)
    return CopyOutcome("blob", size, size, resumed=False)


def record_sha256(target: BlobClient, sha256: str) -> None:
    """Note the content's hash at the blob, for whoever finds it. Raises CloudError."""
    with refusals("note the hash of a VHD"):
        metadata = dict(target.get_blob_properties().metadata or {})
        if metadata.get(SHA256) != sha256:
            target.set_blob_metadata(metadata | {SHA256: sha256})


def recorded_sha256(target: BlobClient) -> str:
    """The hash that was noted at a blob once its content was verified; "" without a note or a blob. Raises CloudError."""
    existing = _existing(target)
    return ((existing.metadata or {}) if existing else {}).get(SHA256, "")


def remove_copy(target: BlobClient) -> None:
    """Delete a copy, whole or in part; absent is fine. Raises CloudError."""
    _remove(target)


def _copy_pages(
    source: BlobClient, source_url: SecretStr, target: BlobClient, size: int, identity: str, *, create: bool, on_progress: Progress
) -> int:
    wanted = data_spans(source)
    if create:
        with refusals("make a page blob"):
            target.create_page_blob(size, metadata={SOURCE: identity, STATE: "partial"})
    # Put Page is not atomic over several pages: a chunk that was under way when the copy broke off may be there in part. Chunks are
    # cut at fixed places, and one that is not wholly there is copied again as a whole.
    there = data_spans(target) if not create else []
    todo = [chunk for chunk in chunks(wanted) if missing([chunk], there)]
    total = sum(span.size for span in wanted)
    done = total - sum(chunk.size for chunk in todo)

    def copy(chunk: Span) -> int:
        with refusals(f"copy bytes {chunk.start} to {chunk.end}"):
            target.upload_pages_from_url(source_url.get_secret_value(), chunk.start, chunk.size, chunk.start)
        return chunk.size

    copied = 0
    with ThreadPoolExecutor(max_workers=PARALLEL, thread_name_prefix="copy") as pool:
        # The first one alone: it finds out whether the service knows the operation at all.
        futures = [pool.submit(copy, chunk) for chunk in todo[:1]]
        try:
            for future in futures:
                copied += future.result()
                on_progress(done + copied, total)
            futures = [pool.submit(copy, chunk) for chunk in todo[1:]]
            for future in as_completed(futures):
                copied += future.result()
                on_progress(done + copied, total)
        except BaseException:
            for future in futures:
                future.cancel()
            raise
    return copied


def _copy_blob(cloud: Cloud, source_url: SecretStr, target: BlobClient, identity: str, on_progress: Progress) -> None:
    with refusals("start the copy"):
        started = target.start_copy_from_url(source_url.get_secret_value(), metadata={SOURCE: identity, STATE: "partial"})
    try:
        while not _copied(target, on_progress):
            cloud.wait.pause()
    except BaseException:
        # A copy that nobody follows goes on in the service; it must not surprise the next one.
        with suppress(CloudError), refusals("abort the copy"):
            target.abort_copy(str(started["copy_id"]))
        raise


def _copied(target: BlobClient, on_progress: Progress) -> bool:
    with refusals("follow the copy"):
        copy = target.get_blob_properties().copy
    done, _, total = (copy.progress or "").partition("/")
    if done and total:
        on_progress(int(done), int(total))
    if copy.status not in {"success", "pending"}:
        reason = redact(copy.status_description or "no reason given")
        raise CloudError(f"the copy ended as {copy.status}: {reason}", code=f"Copy{str(copy.status).title()}", hint="run the copy again")
    return copy.status == "success"


def _existing(target: BlobClient) -> BlobProperties | None:
    from azure.core.exceptions import ResourceNotFoundError

    with refusals("look at the target of the copy"):
        try:
            return target.get_blob_properties()
        except ResourceNotFoundError:
            return None


def _same(existing: BlobProperties, size: int, identity: str) -> bool:
    return existing.size == size and (existing.metadata or {}).get(SOURCE) == identity


def _mark_complete(target: BlobClient, identity: str) -> None:
    with refusals("mark the copy as complete"):
        target.set_blob_metadata({SOURCE: identity, STATE: "complete"})


def _remove(target: BlobClient) -> None:
    from azure.core.exceptions import ResourceNotFoundError

    with refusals("remove an earlier copy"):
        try:
            target.delete_blob(delete_snapshots="include")
        except ResourceNotFoundError:
            return
