"""Waiting for Azure's long-running operations: with a deadline, at the server's pace, and stoppable."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from azure.core.exceptions import ResourceExistsError
from azure.mgmt.core.polling.arm_polling import ARMPolling

from images.errors import CloudError
from infra.azure.refusals import HINTS, error_code, refusals

if TYPE_CHECKING:
    from azure.core.polling import LROPoller

T = TypeVar("T")

# Answers that mean "somebody else is changing this resource now; the same request works later".
# https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations and the Network provider's error texts.
BUSY_CODES = frozenset({"AnotherOperationInProgress", "RetryableError", "InUseByAnotherOperation", "Conflict"})
BUSY_ATTEMPTS = 6


class PollingStoppedError(Exception):
    """The wait for an operation was given up: its deadline passed, or the session was closed."""


class BoundedPolling(ARMPolling):
    """ARM polling that honours Retry-After, else waits `interval_s`, and ends at a deadline (seconds from now) or when `closing` is set."""

    def __init__(self, interval_s: float, deadline_s: float, closing: threading.Event) -> None:
        super().__init__(timeout=interval_s)
        self._ends_at = time.monotonic() + deadline_s
        self._closing = closing

    def _poll(self) -> None:
        # The SDK asks for the state at once, even where the accepting answer says Retry-After.
        asked = self._extract_delay()
        if not self.finished() and asked != self._timeout:
            self._sleep(asked)
        super()._poll()

    def _sleep(self, delay: float) -> None:
        # Called with Retry-After when the server gave one, else with the interval.
        if time.monotonic() + delay > self._ends_at:
            raise PollingStoppedError("deadline")
        if self._closing.wait(delay):
            raise PollingStoppedError("closing")


class Waiter:
    """Starts operations and waits for them; one for each session."""

    def __init__(self, interval_s: float) -> None:
        self.interval_s = interval_s
        self._closing = threading.Event()

    def close(self) -> None:
        """End all waiting; the operations themselves go on in Azure."""
        self._closing.set()

    def pause(self, seconds: float | None = None) -> None:
        """Wait (default: one poll interval); CloudError when the session is closed meanwhile."""
        if self._closing.wait(self.interval_s if seconds is None else seconds):
            raise CloudError(
                "the session with the cloud was closed while something waited in it",
                code="SessionClosed",
                hint="the build was stopped: run it again",
            )

    def finish(self, what: str, begin: Callable[[BoundedPolling], LROPoller[T]], *, deadline_s: float) -> T:
        """What the operation results in; `begin` starts it with the polling it is given. Raises CloudError, or AllocationError."""
        ends_at = time.monotonic() + deadline_s
        for attempt in range(1, BUSY_ATTEMPTS + 1):
            polling = BoundedPolling(self.interval_s, ends_at - time.monotonic(), self._closing)
            try:
                with refusals(what):
                    try:
                        return begin(polling).result()
                    except ResourceExistsError as error:  # 409
                        if error_code(error) not in BUSY_CODES or attempt == BUSY_ATTEMPTS:
                            raise
            except PollingStoppedError:
                self.pause(0)
                raise CloudError(
                    f"could not {what}: not finished after {deadline_s:.0f} s", code="OperationTimedOut", hint=HINTS["OperationTimedOut"]
                ) from None
            self.pause(self.interval_s * attempt)
        raise AssertionError("unreachable: the last attempt returns or raises")
