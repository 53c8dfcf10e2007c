"""Reading page blobs that are mostly holes: only the ranges that hold data travel, several at a time, and come in order."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from images.errors import CaptureError
from infra.azure.refusals import refusals
from infra.vhd.footer import FOOTER_SIZE, DiskType, parse_footer

if TYPE_CHECKING:
    from azure.storage.blob import BlobClient

CHUNK_BYTES = 4 * 1024 * 1024
"""Most that one Put Page or Put Page From URL takes: https://learn.microsoft.com/rest/api/storageservices/put-page-from-url."""
PARALLEL = 4
MIB = 1024 * 1024
_ZEROS = bytes(MIB)

Progress = Callable[[int, int], None]
"""(bytes done, bytes to do)"""


@dataclass(frozen=True, order=True)
class Span:
    """Bytes of a blob from `start` up to, not including, `end`."""

    start: int
    end: int

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self.end - self.start


@dataclass(frozen=True)
class ContentHash:
    """The sha256 of a whole VHD, holes included, its size, and how many bytes of it had to be read."""

    sha256: str
    size_bytes: int
    data_bytes: int


def data_spans(blob: BlobClient) -> list[Span]:
    """The ranges of a page blob that hold data, in order, neighbours joined. Raises CloudError."""
    spans: list[Span] = []
    with refusals("list the page ranges of a blob"):
        for found in blob.list_page_ranges():
            if found.cleared or found.start is None or found.end is None:
                continue
            span = Span(found.start, found.end + 1)
            if spans and spans[-1].end >= span.start:
                spans[-1] = Span(spans[-1].start, max(spans[-1].end, span.end))
            else:
                spans.append(span)
    return spans


def chunks(spans: Iterable[Span], size: int = CHUNK_BYTES) -> Iterator[Span]:
    """The spans cut at multiples of `size`, so that the same chunk has the same place in every attempt."""
    for span in spans:
        start = span.start
        while start < span.end:
            end = min(span.end, start - start % size + size)
            yield Span(start, end)
            start = end


def missing(wanted: Iterable[Span], there: list[Span]) -> list[Span]:
    """The parts of `wanted` that `there` (ordered, disjoint) does not cover."""
    left: list[Span] = []
    for span in wanted:
        start = span.start
        for present in there:
            if present.end <= start or present.start >= span.end:
                continue
            if present.start > start:
                left.append(Span(start, present.start))
            start = present.end
            if start >= span.end:
                break
        if start < span.end:
            left.append(Span(start, span.end))
    return left


def read_chunks(blob: BlobClient, spans: Iterable[Span], parallel: int = PARALLEL) -> Iterator[tuple[Span, bytes]]:
    """The bytes of the spans in order, chunk by chunk, with `parallel` reads under way and no more than that in memory."""

    def read(span: Span) -> bytes:
        with refusals("read a range of a blob"):
            return blob.download_blob(offset=span.start, length=span.size).readall()

    with ThreadPoolExecutor(max_workers=parallel, thread_name_prefix="read") as pool:
        waiting: deque[tuple[Span, Future[bytes]]] = deque()
        try:
            for span in chunks(spans):
                waiting.append((span, pool.submit(read, span)))
                if len(waiting) > parallel:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


def hash_page_blob(blob: BlobClient, *, parallel: int = PARALLEL, on_progress: Progress = lambda _done, _total: None) -> ContentHash:
    """The sha256 that the whole blob has as a file; only its data is read, holes are hashed as the zeros they are. Raises CloudError."""
    return _walk(blob, lambda _offset, _content: None, parallel, on_progress)


def download_vhd(
    blob: BlobClient, path: Path, *, parallel: int = PARALLEL, on_progress: Progress = lambda _done, _total: None
) -> ContentHash:
    """Fetch a VHD into a sparse file and give its hash; the file appears under its name only when it is complete and has a VHD's footer.

    Raises CloudError, CaptureError for a blob that is no fixed VHD, OSError when the disk is full.
    """
    check_fixed_vhd(blob)
    part = path.with_name(f".{path.name}.part")
    try:
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            content = _walk(blob, lambda offset, data: _write(descriptor, data, offset), parallel, on_progress)
            os.ftruncate(descriptor, content.size_bytes)
        finally:
            os.close(descriptor)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return content


def check_fixed_vhd(blob: BlobClient) -> int:
    """The size in bytes of a blob that is a fixed VHD of whole MiB, footer included; CaptureError when it is none. Raises CloudError."""
    with refusals("read the footer of a VHD"):
        size = int(blob.get_blob_properties().size)
        if size < FOOTER_SIZE:
            raise CaptureError(f"the blob holds {size} bytes: no VHD is that small", hint="the upload or capture broke off: make it again")
        footer = parse_footer(blob.download_blob(offset=size - FOOTER_SIZE, length=FOOTER_SIZE).readall())
    if footer.disk_type is not DiskType.FIXED:
        raise CaptureError(f"the VHD is {footer.disk_type.name.lower()}, Azure takes fixed ones", hint="convert it with qemu-img")
    if footer.size_bytes != size - FOOTER_SIZE or footer.size_bytes % MIB:
        raise CaptureError(
            f"the VHD's footer promises {footer.size_bytes} bytes before it, the blob has {size - FOOTER_SIZE}; Azure wants whole MiB",
            hint="the blob is cut off, or was made by a tool that does not align: capture again",
        )
    return size


def _walk(blob: BlobClient, sink: Callable[[int, bytes], None], parallel: int, on_progress: Progress) -> ContentHash:
    with refusals("read the properties of a blob"):
        size = int(blob.get_blob_properties().size)
    spans = data_spans(blob)
    total = sum(span.size for span in spans)
    digest, position, done = hashlib.sha256(), 0, 0
    for span, content in read_chunks(blob, spans, parallel):
        _hash_zeros(digest, span.start - position)
        digest.update(content)
        sink(span.start, content)
        position, done = span.end, done + span.size
        on_progress(done, total)
    _hash_zeros(digest, size - position)
    return ContentHash(digest.hexdigest(), size, total)


def _hash_zeros(digest: hashlib._Hash, count: int) -> None:
    while count > 0:
        step = min(count, len(_ZEROS))
        digest.update(_ZEROS if step == len(_ZEROS) else _ZEROS[:step])
        count -= step


def _write(descriptor: int, content: bytes, offset: int) -> None:
    view = memoryview(content)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
