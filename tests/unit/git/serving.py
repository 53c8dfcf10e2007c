"""A real git server over HTTP on this machine: `git http-backend` behind Basic authentication."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from tests.http_listening import listening


def run_git(folder: Path, *arguments: str) -> str:
    """What git prints in a folder, for a person of these tests."""
    person = ["-c", "user.name=person", "-c", "user.email=person@example.com", "-c", "init.defaultBranch=main"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(["git", "-C", str(folder), *person, *arguments], capture_output=True, text=True, check=True, env=environment)
    return done.stdout.strip()


@dataclass
class GitServer:
    """A bare repository and who may use it; `requests` are the lines of all requests, with the user and password that came along."""

    repository: Path
    username: str
    token: str
    url: str = ""
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    redirect: bool = False

    def text(self, branch: str, path: str) -> str:
        """A file of a branch."""
        return run_git(self.repository, "show", f"{branch}:{path}")

    def log(self, branch: str) -> list[str]:
        """Subjects of a branch's commits, newest first."""
        return run_git(self.repository, "log", "--format=%s", branch).splitlines()


def _credential(header: str | None) -> str | None:
    kind, _, value = (header or "").partition(" ")
    return base64.b64decode(value).decode() if kind == "Basic" else None


@contextmanager
def serving(repository: Path, *, username: str, token: str) -> Iterator[GitServer]:
    """Serve a bare repository for the block, to one user."""
    server = GitServer(repository, username, token)
    backend = Path(run_git(repository, "--exec-path")) / "git-http-backend"

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given = _credential(self.headers.get("Authorization"))
            server.requests.append((f"{self.command} {self.path}", given))
            if server.redirect:
                self.send_response(302)
                self.send_header("Location", server.url.replace("127.0.0.1", "localhost") + self.path.removeprefix("/locks.git"))
                self.end_headers()
                return
            if given != f"{server.username}:{server.token}":
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="git"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self._answer()

        do_POST = do_GET

        def _answer(self) -> None:
            path, _, query = self.path.partition("?")
            if self.headers.get("Transfer-Encoding") == "chunked":
                raise AssertionError("git sends small packs in one piece")
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            environment = {
                **os.environ,
                "GIT_PROJECT_ROOT": str(repository.parent),
                "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type") or "",
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding") or "",
                "GIT_PROTOCOL": self.headers.get("Git-Protocol") or "",
                "REMOTE_USER": server.username,
                "REMOTE_ADDR": "127.0.0.1",
            }
            done = subprocess.run([str(backend)], input=body, capture_output=True, env=environment, check=True)
            head, _, content = done.stdout.partition(b"\r\n\r\n")
            fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
            self.send_response(int(fields.pop("Status", "200 OK").split()[0]))
            for name, value in fields.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Keep the tests' output clean."""

    with listening(Handler) as url:
        server.url = f"{url}/{repository.name}"
        yield server
