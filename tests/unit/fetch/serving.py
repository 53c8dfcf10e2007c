"""A web server on a free port of this machine that answers as a test says and remembers what it was asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.http_listening import listening


@dataclass(frozen=True)
class Answer:
    """One response; cut_at ends the connection after that many bytes of the body, while Content-Length promises all."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut_at: int | None = None
    told_length: bool = True


@dataclass(frozen=True)
class Asked:
    """One request and when it came (seconds of the monotonic clock)."""

    method: str
    target: str
    headers: dict[str, str]
    at: float


class Server:
    """Answers of a path in turn, the last one for ever; 404 for a path without any."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[Asked] = []
        self._answers: dict[str, list[Answer]] = {}
        self._lock = threading.Lock()

    def on(self, path: str, *answers: Answer) -> str:
        """Give these answers for a path (without query); returns its URL."""
        self._answers[path] = list(answers)
        return self.url + path

    def route(self, url: str) -> str:
        """Where this server answers for https://host/path."""
        return f"{self.url}/{url.partition('://')[2]}"

    def next_answer(self, asked: Asked) -> Answer:
        """Note a request and take its answer."""
        with self._lock:
            self.asked.append(asked)
            answers = self._answers.get(asked.target.partition("?")[0])
            if not answers:
                return Answer(status=404)
            return answers.pop(0) if len(answers) > 1 else answers[0]


@contextmanager
def serving() -> Iterator[Server]:
    """A server for the block."""
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answer = server.next_answer(Asked(self.command, self.path, dict(self.headers), time.monotonic()))
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if answer.told_length:
                self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body[: answer.cut_at])
            self.close_connection = answer.cut_at is not None or not answer.told_length

        do_HEAD = do_GET

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            self.do_GET()

        def log_message(self, format: str, *args: Any) -> None:
            """Keep the tests' output clean."""

    with listening(Handler) as url:
        server.url = url
        yield server
