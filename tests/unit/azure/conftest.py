"""A small HTTP server that gives scripted answers, so that the real SDKs meet exactly what Azure would say."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pydantic import SecretStr

from infra.azure.profile import CloudProfile, StorageAccess
from infra.azure.session import Cloud, open_cloud


@dataclass
class Script:
    """Answers in order (the last one repeats), and the requests that came with their times."""

    answers: list[tuple[int, dict[str, str], Any]] = field(default_factory=list)
    requests: list[tuple[float, str, str]] = field(default_factory=list)
    url: str = ""

    def answer(self, status: int, body: Any = None, **headers: str) -> None:
        self.answers.append((status, {name.replace("_", "-"): value for name, value in headers.items()}, body))

    def refuse(self, status: int, code: str, message: str, details: list[dict[str, str]] | None = None) -> None:
        self.answer(status, {"error": {"code": code, "message": message, "details": details or []}}, x_ms_request_id="11112222")

    def take(self) -> tuple[int, dict[str, str], Any]:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
def script() -> Iterator[Script]:
    script = Script()

    class Handler(BaseHTTPRequestHandler):
        def _reply(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            script.requests.append((time.monotonic(), self.command, self.path))
            status, headers, body = script.take()
            content = b"" if body is None else json.dumps(body).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_DELETE = _reply

        def log_message(self, format: str, *args: object) -> None:
            """Tests read `requests` instead."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        script.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield script
        server.shutdown()
        thread.join()


@pytest.fixture
def cloud(script: Script) -> Iterator[Cloud]:
    profile = CloudProfile(
        name="azure",
        source_address="127.0.0.1",
        subscription_id="00000000-0000-0000-0000-000000000001",
        location="westus3",
        vm_sizes=("Standard_D4s_v5",),
        arm_endpoint=script.url,
        credential="none",
        storage=StorageAccess(account="acc", endpoint=f"{script.url}/acc", key=SecretStr("a2V5")),
        poll_interval_s=0.05,
    )
    with open_cloud(profile) as cloud:
        yield cloud
