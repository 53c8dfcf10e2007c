"""A storage front for tests: passes requests on to Azurite and adds the one operation Azurite lacks, Put Page From URL.

Shape of the operation: https://learn.microsoft.com/rest/api/storageservices/put-page-from-url. The source is read with its own SAS over
HTTP, and the pages are written with the account's key; the client's signature is checked by asking Azurite for the same blob.
"""

from __future__ import annotations

import http.client
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from azure.storage.blob import BlobClient


@dataclass
class Front:
    """Where the front listens, what it copied, and after how many pages it starts to fail (None: never)."""

    url: str = ""
    copied: list[str] = field(default_factory=list)
    fail_after: int | None = None
    failure: tuple[int, str] = (403, "AuthorizationFailure")
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def page_from_url_front(azurite_endpoint: str, account: str, key: str) -> Iterator[Front]:
    """A running front of one Azurite; writes go to one account."""
    front = Front()
    backend = urlsplit(azurite_endpoint).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("x-ms-copy-source") and "comp=page" in self.path:
                self._put_page_from_url()
                return
            connection = http.client.HTTPConnection(backend, timeout=30)
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            content = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in {"transfer-encoding", "connection", "content-length", "date", "server"}:
                    self.send_header(name, value)
            length = answer.getheader("Content-Length") if self.command == "HEAD" else None
            self.send_header("Content-Length", length or str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            connection.close()

        do_GET = do_PUT = do_HEAD = do_DELETE = _pass_on

        def _put_page_from_url(self) -> None:
            span = self.headers["x-ms-source-range"].removeprefix("bytes=")
            with front.lock:
                failing = front.fail_after is not None and len(front.copied) >= front.fail_after
                if not failing:
                    front.copied.append(span)
            if failing:
                self._end(*front.failure)
                return
            request = urllib.request.Request(self.headers["x-ms-copy-source"], headers={"x-ms-range": f"bytes={span}"})
            try:
                with urllib.request.urlopen(request) as source:
                    content = source.read()
            except urllib.error.HTTPError as error:
                error.close()
                self._end(error.code, "CannotVerifyCopySource")
                return
            start = int((self.headers.get("x-ms-range") or self.headers["Range"]).removeprefix("bytes=").split("-")[0])
            bare = f"http://{backend}{urlsplit(self.path).path}"
            with BlobClient.from_blob_url(bare, credential={"account_name": account, "account_key": key}) as blob:
                blob.upload_page(content, offset=start, length=len(content))
            self._end(201)

        def _end(self, status: int, code: str = "") -> None:
            self.send_response(status)
            if code:
                self.send_header("x-ms-error-code", code)
            self.send_header("ETag", '"1"')
            self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Tests read `copied` instead."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        front.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield front
        finally:
            server.shutdown()
            thread.join()
