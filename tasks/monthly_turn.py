"""Only one monthly run of a month and kind works at a time, on whichever server it was started."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from prefect.context import FlowRunContext

from images.errors import BuildError
from infra.azure.blob_storage import BUILDS_CONTAINER, ensure_container
from infra.azure.layer_lease import LEASE_S, LayerLease, LeaseLostError, holder_of, try_acquire
from infra.azure.session import Cloud
from tasks.progress import run_logger

SCOPE = "monthly"
"""Under which scope of leases the turns are."""
_AGAIN_S = 1.0
_NOBODY = "a run outside Prefect"


class TurnLostError(BuildError):
    """The month's turn is no longer this run's: another run may be doing the same work."""

    title: ClassVar[str] = "the month's turn was lost"
    default_hint: ClassVar[str] = "start the run again, if no other one is at work: it takes the images that are built as they are"


@dataclass(frozen=True)
class Turn:
    """Whether this run may work, and else the id of the flow run that does."""

    is_ours: bool
    holder: str
    lease: LayerLease | None = None
    """What keeps the others out; None when the turn is not ours."""

    def must_be_held(self) -> None:
        """Return when no other run can have had the turn since it was taken; raises TurnLostError when one can."""
        if self.lease is None:
            raise _lost(f"run {self.holder} has it")
        try:
            self.lease.must_be_held()
        except LeaseLostError as error:
            raise _lost(error.what) from None


def _lost(why: str) -> TurnLostError:
    return TurnLostError(
        f"this run does not have the month's turn any more: {why}", kept="what was built is there, and no lock was proposed"
    )


def turn_digest(month: str, kind: str) -> str:
    """The name of a month's and kind's lease, where a layer's has its fingerprint."""
    return hashlib.sha256(f"{month} {kind}".encode()).hexdigest()


@contextmanager
def monthly_turn(cloud: Cloud, month: str, kind: str) -> Iterator[Turn]:
    """The turn of this run for the block; not ours when another run of the same month and kind is at work.

    A retry waits until the lease of its own earlier process, which was killed, has run out: a minute at most. Raises CloudError.
    """
    ensure_container(cloud, BUILDS_CONTAINER)
    context = FlowRunContext.get()
    ours = str(context.flow_run.id) if context is not None and context.flow_run is not None else _NOBODY
    lease, holder = _taken(cloud, turn_digest(month, kind), ours, f"the turn of {month} {kind}")
    if lease is None:
        yield Turn(False, holder)
        return
    with lease:
        yield Turn(True, ours, lease)


def _taken(cloud: Cloud, turn: str, ours: str, what: str) -> tuple[LayerLease | None, str]:
    """The lease, or who has it."""
    ends_at = time.monotonic() + LEASE_S + 5
    while True:
        lease = try_acquire(cloud, scope=SCOPE, fingerprint=turn, holder=ours, what=what)
        if lease is not None:
            return lease, ours
        holder = holder_of(cloud, SCOPE, turn, what=what) or "another run"
        if holder != ours or ours == _NOBODY or time.monotonic() > ends_at:
            return None, holder
        run_logger().info("an earlier attempt of this run still has the turn")
        time.sleep(_AGAIN_S)
