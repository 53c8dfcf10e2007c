"""The stand-in's Internet as one web application: `https://host/path` is served at `/host/path`, registries included.

Routes: any file of any host; the pull side of the OCI distribution API (1.1: manifests and blobs) below `/<registry>/v2/`; and
`/.requests`, the request log as JSON lines. Hosts below .invalid (RFC 2606) do not resolve, and nothing has `does-not-exist` in its path.
Faults are asked for at the point origin.fetch: unreachable, slow, corrupt, truncated, anything else answers with the fault's HTTP status.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import time
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from infra.local.faults import Fault, Faults
from infra.local.latency import LatencyProfile
from infra.local.origin.request_log import FILE_NAME, RequestLog
from infra.local.origin.store import OriginStore

SLOW_S = 2.0
"""What the fault `slow` adds to an answer, in seconds."""

_BODY_FAULTS = ("corrupt", "truncated")
_MANIFEST_PATH = re.compile(r"v2/(?P<repository>.+)/manifests/(?P<reference>[^/]+)$")
_BLOB_PATH = re.compile(r"v2/(?P<repository>.+)/blobs/(?P<digest>[^/]+)$")


def create_app(state: Path, faults: Faults | None = None, latency: LatencyProfile | None = None) -> Starlette:
    """The origin with its memory and request log in a state folder."""
    origin = _Origin(state, faults or Faults(), latency or LatencyProfile())
    return Starlette(
        routes=[
            Route("/.requests", origin.requests, methods=["GET"]),
            Route("/{host}/{path:path}", origin.answer, methods=["GET", "HEAD"]),
        ]
    )


class _Origin:
    def __init__(self, state: Path, faults: Faults, latency: LatencyProfile) -> None:
        self._latency = latency
        self._state = state
        self._faults = faults
        self._store = OriginStore(state)
        self._log = RequestLog(state)

    def requests(self, _: Request) -> Response:
        file = self._state / FILE_NAME
        return Response(file.read_bytes() if file.exists() else b"", media_type="application/x-ndjson")

    async def answer(self, request: Request) -> Response:
        response = await run_in_threadpool(self._answer, request)
        # Not in the pool: a file that takes its time must not hold one of its few threads.
        await asyncio.sleep(self._seconds(request, response))
        return response

    def _seconds(self, request: Request, response: Response) -> float:
        """How long a file takes over the Internet. A guest's downloads take their time in the guest."""
        is_guest = request.headers.get("user-agent", "").startswith("winvhd-guest/")
        if request.method != "GET" or is_guest or response.status_code not in (200, 206) or "/manifests/" in request.url.path:
            return 0.0
        return self._latency.seconds("origin.fetch", request.url.path)

    def _answer(self, request: Request) -> Response:
        host, path = request.path_params["host"], request.path_params["path"]
        url = f"https://{host}/{path}"
        if request.url.query:
            url += f"?{request.url.query}"
        response = self._respond(request, host, path, url)
        sent = 0 if request.method == "HEAD" else len(response.body)
        self._log.add(request.method, url, response.status_code, sent, request.headers.get("user-agent", ""))
        return response

    def _respond(self, request: Request, host: str, path: str, url: str) -> Response:
        fault = self._faults.should("origin.fetch", url)
        if host.endswith(".invalid") or (fault and fault.code == "unreachable"):
            return Response(f"could not resolve host: {host}\n", status_code=502, media_type="text/plain")
        if fault and fault.code == "slow":
            time.sleep(SLOW_S)
        elif fault and fault.code not in _BODY_FAULTS:
            return Response(f"{fault.code}: {fault.message}\n", status_code=fault.status, media_type="text/plain")
        if path == "v2/" or path.startswith("v2/"):
            return self._registry(request, host, path, fault)
        if "does-not-exist" in path:
            return Response("not found\n", status_code=404, media_type="text/plain")
        return self._body(request, self._store.body(url), "application/octet-stream", {}, fault)

    def _registry(self, request: Request, host: str, path: str, fault: Fault | None) -> Response:
        if path == "v2/":
            return Response(b"{}", media_type="application/json")
        if found := _BLOB_PATH.match(path):
            blob = self._store.blob(found["digest"])
            if blob is None:
                return _registry_error(404, "BLOB_UNKNOWN", f"{found['digest']} is not in {host}/{found['repository']}")
            return self._body(request, blob, "application/octet-stream", {"Docker-Content-Digest": found["digest"]}, fault)
        if found := _MANIFEST_PATH.match(path):
            reference = found["reference"]
            is_digest = reference.startswith("sha256:")
            digest = reference if is_digest else self._store.tag(host, found["repository"], reference)
            manifest = self._store.blob(digest) if digest else None
            if digest is None or manifest is None:
                return _registry_error(404, "MANIFEST_UNKNOWN", f"{host}/{found['repository']} has no {reference}")
            return self._body(request, manifest, self._store.media_type(manifest), {"Docker-Content-Digest": digest}, fault)
        return _registry_error(501, "UNSUPPORTED", f"this registry does not implement {request.method} /{path}")

    def _body(self, request: Request, content: bytes, media_type: str, headers: dict[str, str], fault: Fault | None) -> Response:
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "Accept-Ranges": "bytes"} | headers
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        status = 200
        if wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", "")):
            start, end = int(wanted[1]), int(wanted[2] or len(content) - 1)
            if start >= len(content) or end < start:
                return Response(status_code=416, headers={"Content-Range": f"bytes */{len(content)}"})
            end = min(end, len(content) - 1)
            headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
            content, status = content[start : end + 1], 206
        if fault and request.method == "GET":
            content = _spoiled(content, fault.code)
        return Response(content, status_code=status, media_type=media_type, headers=headers)


def _spoiled(content: bytes, code: str) -> bytes:
    if code == "truncated":
        return content[: len(content) // 2]
    if code == "corrupt":
        # One flipped bit in the middle: the length is right, the hash is not.
        middle = len(content) // 2
        return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    return content


def _registry_error(status: int, code: str, message: str) -> Response:
    body = json.dumps({"errors": [{"code": code, "message": message}]})
    return Response(body, status_code=status, media_type="application/json")
