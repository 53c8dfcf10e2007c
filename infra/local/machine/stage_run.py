"""StageRun: what one run of a stage script has in hand; and how it fails."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx

from infra.local.contracts import Outside
from infra.local.guest.engine import FaultSource, Latency, ScriptContext
from infra.local.machine.disk import MachineDisk
from infra.local.machine.model import Machine
from infra.local.origin.bodies import SCALE

E_ACCESSDENIED = 0x80070005
ACCESS_DENIED_EXIT = 5
_TIMEOUT_S = 60.0


class StageFailureError(Exception):
    """The script ends with this code (disk-full, hash-mismatch, unknown-feature, …), message and exit code.

    http_status: what a server refused with, None where no server did.
    """

    def __init__(self, code: str, message: str, *, exit_code: int = 1, http_status: int | None = None) -> None:
        self.code = code
        self.exit_code = exit_code
        self.http_status = http_status
        super().__init__(message)


class StageStopped(Exception):
    """The process was killed; it ends without a result."""


@dataclass
class StageRun:
    """One run: the machine, the way out, and what the contract lets a script say."""

    machine: Machine
    context: ScriptContext
    outside: Outside
    faults: FaultSource
    latency: Latency
    disk_full: bool = False
    """The fault disk-full struck: nothing more fits on C:."""
    then: Callable[[], None] | None = None
    """What the script still does when its result is out."""
    _reserved: int = 0
    _free: int | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def disk(self) -> MachineDisk:
        """The machine's disk."""
        return self.machine.disk

    @property
    def now(self) -> datetime:
        """The guest's clock, UTC."""
        return datetime.now(UTC)

    def progress(self, message: str, done: int | None = None, total: int | None = None) -> None:
        """Emit a progress line."""
        self.context.emit_stdout(json.dumps({"event": "progress", "message": message, "done": done, "total": total}))

    def check_stopped(self) -> None:
        """StageStopped when somebody killed the process."""
        if self.context.stop_event.is_set():
            raise StageStopped

    def take(self, operation: str, item: str = "", *, share: float = 1.0, since: float | None = None) -> None:
        """Work for as long as the latency profile says of this operation, or a share of it; StageStopped when the process is killed.

        What has passed `since` (monotonic clock) is part of it: the model's own work counts as the operation's.
        """
        seconds = self.latency.seconds(operation, item) * share
        if since is not None:
            seconds -= time.monotonic() - since
        if seconds > 0 and self.context.stop_event.wait(seconds):
            raise StageStopped

    def reserve(self, size_bytes: int) -> None:
        """Take room for that many bytes of a scaled-down body; StageFailureError disk-full when C: has none."""
        with self._lock:
            if self._free is None:
                self._free = self.machine.free_bytes
            self._reserved += size_bytes * SCALE
            if self.disk_full or self._reserved > self._free:
                raise StageFailureError("disk-full", "There is not enough space on the disk.")

    def client(self) -> httpx.Client:
        """An HTTP client as the guest's programs use it; the caller closes it. Safe to use from several threads."""
        # trust_env: a proxy of the surroundings must not come between the guest and the stand-in.
        agent = f"winvhd-guest/{(self.context.vm_id or self.machine.computer_name).lstrip('/')}"
        return httpx.Client(headers={"User-Agent": agent}, timeout=_TIMEOUT_S, follow_redirects=True, trust_env=False)

    def fetch(self, client: httpx.Client, url: str, headers: dict[str, str] | None = None) -> httpx.Response:
        """GET a public URL or one of this machine's network; StageFailureError when it is refused.

        What lies outside goes through the stand-in's gateway, and only while outbound traffic is allowed.
        """
        shown = url.partition("?")[0]
        if not self.machine.reaches_outside:
            raise StageFailureError("network-unreachable", f"{shown}: outbound traffic is blocked")
        try:
            response = client.get(self.outside.route(url), headers=headers)
        except httpx.HTTPError as error:
            raise StageFailureError("download-failed", f"{shown}: {type(error).__name__}") from error
        if response.status_code >= 400:
            refused = response.status_code < 500 and response.status_code not in (408, 429)
            code = "download-refused" if refused else "download-failed"
            raise StageFailureError(code, f"{shown}: HTTP {response.status_code}", http_status=response.status_code)
        return response
