"""The origin's own record of what was fetched: one JSON line for each request, kept over restarts."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from pathlib import Path

from images.frozen import Frozen

FILE_NAME = "origin-requests.jsonl"


class RequestRecord(Frozen):
    """One request: when (ISO 8601 UTC), what, how it was answered, how many body bytes left, and who asked (User-Agent)."""

    time: str
    method: str
    url: str
    status: int
    bytes: int
    client: str


class RequestLog:
    """Appends to origin-requests.jsonl in the state folder; safe to use from several threads."""

    def __init__(self, state: Path) -> None:
        self._file = state / FILE_NAME
        self._lock = threading.Lock()
        state.mkdir(parents=True, exist_ok=True)

    def add(self, method: str, url: str, status: int, size: int, client: str) -> None:
        """Record a request that was answered."""
        record = RequestRecord(time=datetime.now(UTC).isoformat(), method=method, url=url, status=status, bytes=size, client=client)
        with self._lock, self._file.open("a", encoding="utf-8") as log:
            log.write(record.model_dump_json() + "\n")


def read_requests(state: Path) -> tuple[RequestRecord, ...]:
    """Everything that was asked of the origin with this state folder, oldest first."""
    file = state / FILE_NAME
    if not file.exists():
        return ()
    return tuple(RequestRecord.model_validate(json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines() if line)
