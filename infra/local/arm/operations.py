"""Long-running operations: work in a thread, and the two addresses where clients ask for its state.

Shape: learn.microsoft.com, "Track asynchronous Azure operations" (Azure-AsyncOperation, Location, Retry-After).
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from infra.local.arm.errors import ArmError
from infra.local.arm.exchange import Answer, Call, Route
from infra.local.faults import Faults
from infra.local.latency import LatencyProfile
from infra.local.state import Json

LOG = logging.getLogger(__name__)
Work = Callable[[], Json | None]
STATUS_PATH = "/subscriptions/{subscription}/providers/Microsoft.StandIn/locations/{location}/operations/{operation}"
_MOVING_DATA = frozenset({"disk.create", "disk.beginGetAccess", "snapshot.create", "image.create"})
"""Operations that begin at once and end in their time; others change something when their time is over."""
RESULT_PATH = "/subscriptions/{subscription}/providers/Microsoft.StandIn/locations/{location}/operationResults/{operation}"


@dataclass
class Operation:
    """One long-running operation; `output` is what its final GET gives."""

    name: str
    resource_id: str
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    status: str = "InProgress"
    error: ArmError | None = None
    output: Json | None = None
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    ended: datetime | None = None


class Operations:
    """Runs operations, at most one on a resource at a time, and answers for their state."""

    def __init__(self, faults: Faults, latency: LatencyProfile, location: str) -> None:
        self.stopping = threading.Event()
        self._faults = faults
        self._latency = latency
        self._location = location
        self._changed = threading.Condition()
        self._operations: dict[str, Operation] = {}
        self._busy: dict[str, str] = {}
        self._threads: set[threading.Thread] = set()

    def routes(self) -> list[Route]:
        """The status address and the result address."""
        return [Route("GET", STATUS_PATH, self._status), Route("GET", RESULT_PATH, self._result)]

    def busy_with(self, key: str) -> str | None:
        """Name of the operation under way on a resource, or None."""
        with self._changed:
            return self._busy.get(key.lower())

    def in_progress(self) -> list[Operation]:
        """Operations that have not ended."""
        with self._changed:
            return [operation for operation in self._operations.values() if operation.ended is None]

    def started(self) -> dict[str, int]:
        """How many operations of each name were accepted since the stand-in began."""
        with self._changed:
            return dict(Counter(operation.name for operation in self._operations.values()))

    def start(
        self,
        name: str,
        resource_id: str,
        work: Work,
        *,
        key: str = "",
        first: Callable[[], None] | None = None,
        failed: Callable[[], None] | None = None,
    ) -> Operation:
        """Run `work` in a thread; raises ArmError 409 when something is under way on `key` (default: the resource).

        `first` runs before this returns and before `work`, and only when the operation was accepted; `failed` runs when it fails.
        """
        operation = Operation(name, resource_id)
        claim = (key or resource_id).lower()
        with self._changed:
            if self.stopping.is_set():
                raise ArmError(503, "ServiceUnavailable", "The stand-in cloud is shutting down.")
            if claim in self._busy:
                raise ArmError(
                    409, "Conflict", f"The request failed due to conflict with a concurrent request on '{claim}': {self._busy[claim]}."
                )
            if first is not None:
                first()
            self._busy[claim] = name
            self._operations[operation.id] = operation
            thread = threading.Thread(target=self._run, args=(operation, claim, work, failed), name=f"arm-{name}", daemon=True)
            self._threads.add(thread)
        thread.start()
        return operation

    def wait_until_idle(self, prefix: str) -> None:
        """Block until nothing is under way below an id, scripts inside VMs aside: those end with their VM."""
        below = f"{prefix.lower()}/"

        def idle() -> bool:
            return not any(key.startswith(below) and not key.endswith("/runcommands") for key in self._busy)

        with self._changed:
            self._changed.wait_for(lambda: self.stopping.is_set() or idle())

    def close(self, timeout_s: float = 20.0) -> None:
        """Let what is under way end, and start nothing more."""
        with self._changed:
            self.stopping.set()
            self._changed.notify_all()
            threads = list(self._threads)
        for thread in threads:
            thread.join(timeout_s)

    def headers(self, call: Call, operation: Operation, *, status: bool = True, location: bool = False) -> dict[str, str]:
        """The headers that tell a client where to ask (status address, result address), and after how many seconds."""
        version = call.query.get("api-version", "")
        names = {"subscription": call.parameters["subscription"], "location": self._location, "operation": operation.id}
        headers = {"Retry-After": self._retry_after()}
        if status:
            headers["Azure-AsyncOperation"] = f"{call.base_url}{STATUS_PATH.format(**names)}?api-version={version}"
        if location:
            headers["Location"] = f"{call.base_url}{RESULT_PATH.format(**names)}?api-version={version}"
        return headers

    def _retry_after(self) -> str:
        return str(min(10, round(10 * self._latency.scale)))

    def _run(self, operation: Operation, claim: str, work: Work, failed: Callable[[], None] | None) -> None:
        error: ArmError | None = None
        output: Json | None = None
        began = time.monotonic()
        try:
            if operation.name not in _MOVING_DATA:
                self._latency.wait(operation.name, self.stopping)
            self._strike(operation)
            output = work()
            # What the stand-in needs itself for an operation that moves data is part of the operation's minutes, not added to them.
            self._latency.wait(operation.name, self.stopping, since=began)
        except ArmError as refusal:
            error = refusal
        except Exception as problem:  # the boundary of a worker thread: whatever it was must reach the client
            LOG.exception("%s of %s failed", operation.name, operation.resource_id)
            error = ArmError(500, "InternalExecutionError", f"{type(problem).__name__}: {problem}")
        if error is not None and failed is not None:
            failed()
        with self._changed:
            operation.error, operation.output = error, output
            operation.status = "Failed" if error else "Succeeded"
            operation.ended = datetime.now(UTC)
            self._busy.pop(claim, None)
            self._threads.discard(threading.current_thread())
            self._changed.notify_all()

    def _strike(self, operation: Operation) -> None:
        fault = self._faults.should("arm.operation", f"{operation.name} {operation.resource_id}")
        if fault is not None:
            raise ArmError(fault.status, fault.code, fault.message or "The operation failed.")

    def _find(self, call: Call) -> Operation:
        operation = self._operations.get(call.parameters["operation"])
        if operation is None:
            raise ArmError(404, "OperationNotFound", f"The operation '{call.parameters['operation']}' was not found.")
        return operation

    def _status(self, call: Call) -> Answer:
        operation = self._find(call)
        with self._changed:
            body: Json = {"name": operation.id, "status": operation.status, "startTime": operation.started.isoformat()}
            if operation.ended is None:
                return Answer(200, body, {"Retry-After": self._retry_after()})
            body["endTime"] = operation.ended.isoformat()
            if operation.error is not None:
                body |= operation.error.body()
            elif operation.output is not None:
                body["properties"] = {"output": operation.output}
            return Answer(200, body)

    def _result(self, call: Call) -> Answer:
        operation = self._find(call)
        with self._changed:
            if operation.ended is None:
                return Answer(202, None, self.headers(call, operation, status=False, location=True))
            if operation.error is not None:
                raise operation.error
            return Answer(204) if operation.output is None else Answer(200, operation.output)
