"""Prune checkpoints: look at what is there, decide, delete; one that Azure refuses to delete does not save the others."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

from pydantic import Field

from images.errors import CloudError
from images.frozen import Frozen
from images.retention import KEPT_OF_EACH, Verdict, judge_checkpoints
from infra.azure.blob_storage import BUILDS_CONTAINER, ensure_container
from infra.azure.checkpoints import PUBLIC, CheckpointState, delete_checkpoint, list_checkpoints
from infra.azure.live_plans import LivePlans
from infra.azure.session import Cloud


class JudgedCheckpoint(Frozen):
    """One checkpoint and what was done with it."""

    name: str
    layer: str
    image: str
    fingerprint: str
    scope: str
    build_id: str
    created_at: datetime | None
    expires_at: datetime | None
    size_gib: int
    state: str = Field(description="usable, busy, broken or strange.")
    in_use: bool = Field(description="True when the plan of a build that runs now needs it.")
    action: Literal["kept", "deleted", "would delete", "refused"]
    reason: str

    @classmethod
    def of(
        cls, verdict: Verdict[CheckpointState], action: Literal["kept", "deleted", "would delete", "refused"], reason: str
    ) -> JudgedCheckpoint:
        """A judged checkpoint from retention's verdict."""
        found = verdict.checkpoint
        return cls(
            name=found.name,
            layer=found.layer,
            image=found.image,
            fingerprint=found.fingerprint,
            scope=found.scope,
            build_id=found.build_id,
            created_at=found.created_at,
            expires_at=found.expires_at,
            size_gib=found.size_gib,
            state=found.condition.value,
            in_use=verdict.in_use,
            action=action,
            reason=reason,
        )


class PruneReport(Frozen):
    """What pruning did, the newest checkpoint first."""

    dry_run: bool
    kept_of_each: int
    checkpoints: tuple[JudgedCheckpoint, ...]

    def named(self, *actions: str) -> list[str]:
        """Names of the checkpoints with one of these actions."""
        return [checkpoint.name for checkpoint in self.checkpoints if checkpoint.action in actions]

    def refuse_refusals(self) -> None:
        """Raise CloudError when something that should go is still there."""
        refused = [checkpoint for checkpoint in self.checkpoints if checkpoint.action == "refused"]
        if refused:
            raise CloudError(
                f"{len(refused)} of {len(refused) + len(self.named('deleted'))} checkpoints could not be deleted: {refused[0].reason}",
                code="PruneIncomplete",
                hint="the next run of the reaper tries again; a lock on the resource group or an open SAS must go first",
            )


def judge_stored(cloud: Cloud, *, keep: int = KEPT_OF_EACH, now: datetime | None = None) -> list[Verdict[CheckpointState]]:
    """Retention's verdict on each public checkpoint, the newest first. Raises CloudError, and ConfigurationError for a bad `keep`.

    Private scopes are not even listed: their groups end with them.
    """
    now = now or datetime.now(UTC)
    found = list_checkpoints(cloud, PUBLIC, now=now)
    live: set[str] = set()
    if found:
        # After the list: a build that announced its plan before it looked a checkpoint up is surely seen.
        ensure_container(cloud, BUILDS_CONTAINER)
        live = LivePlans(cloud).in_use(now)
    return judge_checkpoints(found, live, keep=keep)


def prune_checkpoints(
    cloud: Cloud,
    *,
    keep: int = KEPT_OF_EACH,
    dry_run: bool = False,
    now: datetime | None = None,
    on_event: Callable[[str], None] = lambda _: None,
) -> PruneReport:
    """Delete the public checkpoints that retention gives up, and say what happened to each; with dry_run only say it.

    A build that looks one up meanwhile finds it gone or being deleted, and builds the layer. Raises CloudError when nothing can be decided;
    single refusals are in the report.
    """
    judged = []
    for verdict in judge_stored(cloud, keep=keep, now=now):
        if verdict.keep:
            judged.append(JudgedCheckpoint.of(verdict, "kept", verdict.reason))
        elif dry_run:
            judged.append(JudgedCheckpoint.of(verdict, "would delete", verdict.reason))
        else:
            judged.append(_delete(cloud, verdict, on_event))
    return PruneReport(dry_run=dry_run, kept_of_each=keep, checkpoints=tuple(judged))


def _delete(cloud: Cloud, verdict: Verdict[CheckpointState], on_event: Callable[[str], None]) -> JudgedCheckpoint:
    name = verdict.checkpoint.name
    on_event(f"deleting checkpoint {name}: {verdict.reason}")
    try:
        delete_checkpoint(cloud, verdict.checkpoint)
    except CloudError as error:
        on_event(f"could not delete checkpoint {name}: {error}")
        return JudgedCheckpoint.of(verdict, "refused", error.what)
    return JudgedCheckpoint.of(verdict, "deleted", verdict.reason)
