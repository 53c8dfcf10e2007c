"""The stand-in's Internet as one web application: `https://host/path` is served at `/host/path`, registries included.

Routes: any file of any host; the MSRC's update feed and the Update Catalog at their own hosts, as of the day that the stand-in pretends;
the pull side of the OCI distribution API (1.1: manifests and blobs) below `/<registry>/v2/`; `/.requests`, the request log as JSON lines;
and `/.feed`, a feed file of all updates. Hosts below .invalid (RFC 2606) do not resolve, and nothing has `does-not-exist` in its path.
Faults are asked for at the point origin.fetch: unreachable, slow, corrupt, truncated, anything else answers with the fault's HTTP status.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import time
from datetime import UTC, datetime
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from infra.local.faults import Fault, Faults
from infra.local.latency import LatencyProfile
from infra.local.origin import private_fixes
from infra.local.origin.image_content import canonical_tag, is_released
from infra.local.origin.microsoft import Microsoft
from infra.local.origin.request_log import FILE_NAME, RequestLog
from infra.local.origin.store import OriginStore
from infra.local.pretended_date import PretendedDate

SLOW_S = 2.0
"""What the fault `slow` adds to an answer, in seconds."""

_BODY_FAULTS = ("corrupt", "truncated")
_MANIFEST_PATH = re.compile(r"v2/(?P<repository>.+)/manifests/(?P<reference>[^/]+)$")
_BLOB_PATH = re.compile(r"v2/(?P<repository>.+)/blobs/(?P<digest>[^/]+)$")


def create_app(
    state: Path, faults: Faults | None = None, latency: LatencyProfile | None = None, today: PretendedDate | None = None
) -> Starlette:
    """The origin with its memory and request log in a state folder."""
    origin = _Origin(state, faults or Faults(), latency or LatencyProfile(), today or PretendedDate())
    return Starlette(
        routes=[
            Route("/.requests", origin.requests, methods=["GET"]),
            Route("/.feed", origin.feed, methods=["GET"]),
            Route("/{host}/{path:path}", origin.answer, methods=["GET", "HEAD", "POST"]),
        ]
    )


class _Origin:
    def __init__(self, state: Path, faults: Faults, latency: LatencyProfile, today: PretendedDate) -> None:
        self._latency = latency
        self._today = today
        self._state = state
        self._faults = faults
        self._store = OriginStore(state)
        self._microsoft = Microsoft(self._store, today)
        self._log = RequestLog(state)

    def requests(self, _: Request) -> Response:
        file = self._state / FILE_NAME
        return Response(file.read_bytes() if file.exists() else b"", media_type="application/x-ndjson")

    def feed(self, _: Request) -> Response:
        return Response(self._microsoft.feed_file(), media_type="application/yaml")

    async def answer(self, request: Request) -> Response:
        response = await run_in_threadpool(self._answer, request, (await request.body()).decode("utf-8", "replace"))
        # Not in the pool: a file that takes its time must not hold one of its few threads.
        await asyncio.sleep(self._seconds(request, response))
        return response

    def _seconds(self, request: Request, response: Response) -> float:
        """How long a file takes over the Internet. A guest's downloads take their time in the guest."""
        is_guest = request.headers.get("user-agent", "").startswith("winvhd-guest/")
        if request.method != "GET" or is_guest or response.status_code not in (200, 206) or "/manifests/" in request.url.path:
            return 0.0
        return self._latency.seconds("origin.fetch", request.url.path)

    def _answer(self, request: Request, form: str) -> Response:
        host, path = request.path_params["host"], request.path_params["path"]
        url = f"https://{host}/{path}"
        if request.url.query:
            url += f"?{request.url.query}"
        response = self._respond(request, host, path, url, form)
        sent = 0 if request.method == "HEAD" else len(response.body)
        # A private fix's path and token are secrets, in this log as well.
        url = private_fixes.SHOWN_URL if host == private_fixes.HOST else url
        self._log.add(request.method, url, response.status_code, sent, request.headers.get("user-agent", ""))
        return response

    def _respond(self, request: Request, host: str, path: str, url: str, form: str) -> Response:
        fault = self._faults.should("origin.fetch", url)
        if host.endswith(".invalid") or (fault and fault.code == "unreachable"):
            return Response(f"could not resolve host: {host}\n", status_code=502, media_type="text/plain")
        if fault and fault.code == "slow":
            time.sleep(SLOW_S)
        elif fault and fault.code not in _BODY_FAULTS:
            return Response(f"{fault.code}: {fault.message}\n", status_code=fault.status, media_type="text/plain")
        if host == private_fixes.HOST:
            return self._private_fix(request, path, fault)
        return self._content(request, host, path, url, form, fault)

    def _content(self, request: Request, host: str, path: str, url: str, form: str, fault: Fault | None) -> Response:
        page = self._microsoft.page(request.method, host, path, request.url.query, form)
        if page is not None and page.status == 200:
            return self._body(request, page.content, page.media_type, {}, fault)
        if page is not None:
            return Response(page.content, status_code=page.status, media_type=page.media_type)
        if request.method == "POST":
            return Response(f"POST /{path} is not implemented\n", status_code=501, media_type="text/plain")
        if path == "v2/" or path.startswith("v2/"):
            return self._registry(request, host, path, fault)
        return self._file(request, path, url, fault)

    def _file(self, request: Request, path: str, url: str, fault: Fault | None) -> Response:
        if "does-not-exist" in path or not self._microsoft.is_there(url):
            return Response("not found\n", status_code=404, media_type="text/plain")
        return self._body(request, self._store.body(url), "application/octet-stream", {}, fault)

    def _private_fix(self, request: Request, path: str, fault: Fault | None) -> Response:
        # As blob storage: without a valid SAS nobody learns whether the blob is there.
        refused = private_fixes.refusal(path, request.url.query, datetime.now(UTC))
        content = private_fixes.fix_body(path)
        if refused or content is None:
            code, status = (refused, 403) if refused else ("BlobNotFound", 404)
            body = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code></Error>'
            return Response(body, status_code=status, media_type="application/xml", headers={"x-ms-error-code": code})
        return self._body(request, content, "application/octet-stream", {}, fault)

    def _registry(self, request: Request, host: str, path: str, fault: Fault | None) -> Response:
        if path == "v2/":
            return Response(b"{}", media_type="application/json")
        if found := _BLOB_PATH.match(path):
            blob = self._store.blob(host, found["repository"], found["digest"])
            if blob is None:
                return _registry_error(404, "BLOB_UNKNOWN", f"{found['digest']} is not in {host}/{found['repository']}")
            return self._body(request, blob, "application/octet-stream", {"Docker-Content-Digest": found["digest"]}, fault)
        if found := _MANIFEST_PATH.match(path):
            reference = found["reference"]
            is_digest = reference.startswith("sha256:")
            digest = reference if is_digest else self._tag(host, found["repository"], reference)
            manifest = self._store.blob(host, found["repository"], digest) if digest else None
            if digest is None or manifest is None:
                return _registry_error(404, "MANIFEST_UNKNOWN", f"{host}/{found['repository']} has no {reference}")
            return self._body(request, manifest, self._store.media_type(manifest), {"Docker-Content-Digest": digest}, fault)
        return _registry_error(501, "UNSUPPORTED", f"this registry does not implement {request.method} /{path}")

    def _tag(self, registry: str, repository: str, tag: str) -> str | None:
        """The digest that a tag points at today, None when there is no such image yet."""
        day = self._today.day
        tag = canonical_tag(repository, tag, day)
        return self._store.tag(registry, repository, tag) if is_released(repository, tag, day) else None

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
        if fault and request.method in ("GET", "POST"):
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
