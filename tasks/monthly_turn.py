"""Only one monthly run of a month and kind works at a time, on whichever server it was started."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from prefect.context import FlowRunContext

from infra.azure.blob_storage import BUILDS_CONTAINER, ensure_container
from infra.azure.layer_lease import holder_of, try_acquire
from infra.azure.session import Cloud
from tasks.refresh_locks import run_digest

_SCOPE = "monthly"


@dataclass(frozen=True)
class Turn:
    """Whether this run may work, and else who does."""

    is_ours: bool
    holder: str


@contextmanager
def monthly_turn(cloud: Cloud, month: str, kind: str) -> Iterator[Turn]:
    """The turn of this run for the block; not ours when another run of the same month and kind is at work. Raises CloudError."""
    ensure_container(cloud, BUILDS_CONTAINER)
    context = FlowRunContext.get()
    run = context.flow_run.name if context is not None and context.flow_run is not None else "a run"
    fingerprint = run_digest(month, kind)
    lease = try_acquire(cloud, scope=_SCOPE, fingerprint=fingerprint, holder=run)
    if lease is None:
        yield Turn(False, holder_of(cloud, _SCOPE, fingerprint) or "another run")
        return
    with lease:
        yield Turn(True, run)
