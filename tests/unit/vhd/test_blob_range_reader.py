"""Reading a disk through HTTP ranges from a server that keeps count."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from images.errors import CloudError
from infra.vhd.blob_range_reader import open_blob
from infra.vhd.inspect import inspect_path
from infra.vhd.offline_inventory import inspect_disk
from infra.vhd.range_reader import BLOCK_BYTES, RangeReader

SAS = "sv=2024-11-04&sr=b&sp=r&sig=c2VjcmV0LXNpZ25hdHVyZQ%3D%3D"


@dataclass
class CountingServer:
    """Serves one file as a page blob by ranges."""

    path: Path
    etag: str = '"0x1"'
    ranges: list[tuple[int, int]] = field(default_factory=list)
    refuse_with: int = 0
    busy_for: int = 0
    """Requests that get 503 before the next one is answered."""
    url: str = ""


@pytest.fixture
def server(gen2_vhd: Path) -> Iterator[CountingServer]:
    """A server on a free port of this machine."""
    state = CountingServer(gen2_vhd)
    size = gen2_vhd.stat().st_size

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(200, 0, size, body=b"")

        def do_GET(self) -> None:
            start, _, end = (self.headers["Range"]).removeprefix("bytes=").partition("-")
            first, last = int(start), min(int(end), size - 1)
            state.ranges.append((first, last))
            with state.path.open("rb") as file:
                file.seek(first)
                self._answer(206, first, last - first + 1, body=file.read(last - first + 1))

        def _answer(self, status: int, first: int, length: int, *, body: bytes) -> None:
            if state.busy_for:
                state.busy_for -= 1
                status, length, body = 503, 0, b""
            elif "sig=" not in self.path or state.refuse_with:
                status, length, body = state.refuse_with or 403, 0, b""
            elif self.headers.get("If-Match", state.etag) != state.etag:
                status, length, body = 412, 0, b""
            self.send_response(status)
            self.send_header("Content-Length", str(length))
            self.send_header("ETag", state.etag)
            self.send_header("x-ms-blob-type", "PageBlob")
            self.send_header("x-ms-request-id", "request-1")
            self.send_header("Last-Modified", "Wed, 12 Aug 2026 00:00:00 GMT")
            if status == 206:
                self.send_header("Content-Range", f"bytes {first}-{first + length - 1}/{size}")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing goes to the test's output."""

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    state.url = f"http://127.0.0.1:{httpd.server_port}/account/vhds/image.vhd?{SAS}"
    yield state
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def test_remote_disk_gives_the_same_inventory_with_few_bytes(server: CountingServer, gen2_vhd: Path) -> None:
    with open_blob(server.url) as reader:
        found = inspect_disk(reader, hash_files=False, require_footer=True)
        traffic = reader.traffic
    assert found == inspect_path(gen2_vhd).inventory
    assert traffic.requests == len(server.ranges)
    assert traffic.bytes_read == sum(last - first + 1 for first, last in server.ranges)
    assert traffic.bytes_read < gen2_vhd.stat().st_size // 100


def test_block_is_fetched_once(server: CountingServer) -> None:
    with open_blob(server.url) as reader:
        for _ in range(5):
            reader.seek(100)
            assert len(reader.read(50)) == 50
        assert reader.traffic.requests == 1


def test_reading_on_fetches_ahead_several_ranges_at_once(server: CountingServer) -> None:
    size = 4 << 20
    with open_blob(server.url) as reader:
        content = bytearray()
        while len(content) < size:
            content += reader.read(size - len(content))
        with server.path.open("rb") as file:
            assert bytes(content) == file.read(size)
        # One block, then as much again each time, in parts of a MiB: never a request for each block.
        assert reader.traffic.requests < 30
        assert reader.traffic.bytes_read <= 2 * size


def test_cache_is_bounded() -> None:
    tracemalloc.start()
    try:
        with RangeReader(lambda offset, length: bytes(length), 1 << 30, max_blocks=100, max_ahead_blocks=64) as reader:
            for _ in range(1000):
                reader.read(65536)
            held, _peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Of the 62 MiB that were read.
    assert held < 2 * 100 * BLOCK_BYTES


def test_blob_that_changes_while_it_is_read_is_refused(server: CountingServer) -> None:
    with open_blob(server.url) as reader:
        server.etag = '"0x2"'
        with pytest.raises(CloudError) as caught:
            reader.read(10)
    assert caught.value.status == 412


@pytest.mark.parametrize("status", [403, 404])
def test_refusal_is_a_typed_error_that_does_not_tell_the_sas(server: CountingServer, status: int) -> None:
    server.refuse_with = status
    with pytest.raises(CloudError) as caught:
        open_blob(server.url)
    assert caught.value.status == status
    assert caught.value.request_id == "request-1"
    assert "sig" not in str(caught.value)


def test_storage_failure_in_the_middle_of_a_disk_comes_out_as_itself(server: CountingServer) -> None:
    with open_blob(server.url) as reader:
        reader.seek(0)
        reader.read(10)
        server.refuse_with = 403
        with pytest.raises(CloudError):
            inspect_disk(reader, hash_files=False)


def test_busy_storage_is_asked_again(server: CountingServer) -> None:
    server.busy_for = 2
    with open_blob(server.url, first_wait_s=0.01) as reader:
        server.busy_for = 2
        assert len(reader.read(10)) == 10


def test_storage_that_stays_busy_is_a_typed_error(server: CountingServer) -> None:
    server.refuse_with = 503
    with pytest.raises(CloudError) as caught:
        open_blob(server.url, first_wait_s=0.01)
    assert caught.value.status == 503


def test_unreachable_storage_is_a_typed_error_that_does_not_tell_the_sas() -> None:
    with pytest.raises(CloudError) as caught:
        open_blob(f"http://127.0.0.1:9/account/vhds/image.vhd?{SAS}", first_wait_s=0.01)
    assert "sig" not in str(caught.value)
