"""Which checkpoints stay and which go: the newest of each image and layer, and what a build that runs now still needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from images.errors import ConfigurationError

KEPT_OF_EACH = 3
"""Checkpoints of one image and layer that stay: the newest, and two to go back to or to build an older lock from."""


class Condition(StrEnum):
    """What may be done with a snapshot that bears a checkpoint's name."""

    USABLE = "usable"
    BUSY = "busy"
    """Being made or being deleted: somebody else's work, to be waited for."""
    BROKEN = "broken"
    """Of no use to anybody any more: failed or expired."""
    STRANGE = "strange"
    """Not what its name says (another fingerprint, scope, owner): never used, never replaced, left to a person."""


class StoredCheckpoint(Protocol):
    """What retention has to know of a checkpoint that was found."""

    @property
    def name(self) -> str: ...
    @property
    def image(self) -> str: ...
    @property
    def layer(self) -> str: ...
    @property
    def scope(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def created_at(self) -> datetime | None: ...
    @property
    def condition(self) -> Condition: ...
    @property
    def reason(self) -> str: ...


C = TypeVar("C", bound=StoredCheckpoint)


@dataclass(frozen=True)
class Verdict(Generic[C]):
    """Whether a checkpoint stays, and why, in words that complete "it is kept/deleted: …"."""

    checkpoint: C
    keep: bool
    in_use: bool
    reason: str


def judge_checkpoints(found: Sequence[C], live: AbstractSet[str], *, keep: int = KEPT_OF_EACH) -> list[Verdict[C]]:
    """A verdict on each checkpoint, the newest first; `live` holds the fingerprints that builds use now.

    Only usable ones count as the newest `keep` of their image, layer and scope. What is broken goes, in use or not: nobody can start from
    it. What is strange or being worked on stays. Raises ConfigurationError for a negative `keep`.
    """
    if keep < 0:
        raise ConfigurationError(f"{keep} checkpoints can not be kept", hint="keep 0 or more of each image and layer")
    seen: Counter[tuple[str, str, str]] = Counter()
    verdicts = []
    for checkpoint in sorted(found, key=_age_key, reverse=True):
        kind = (checkpoint.scope, checkpoint.image, checkpoint.layer)
        if checkpoint.condition is Condition.USABLE:
            seen[kind] += 1
        in_use = checkpoint.fingerprint in live
        stays, reason = _judge(checkpoint, in_use, seen[kind], keep)
        verdicts.append(Verdict(checkpoint, stays, in_use, reason))
    return verdicts


def _judge(checkpoint: StoredCheckpoint, in_use: bool, rank: int, keep: int) -> tuple[bool, str]:
    match checkpoint.condition:
        case Condition.STRANGE:
            return True, f"left to a person: {checkpoint.reason}"
        case Condition.BUSY:
            return True, checkpoint.reason
        case Condition.BROKEN:
            return False, checkpoint.reason
        case Condition.USABLE:
            if in_use:
                return True, "a build uses it"
            if rank <= keep:
                return True, f"number {rank} of the newest {keep} of {checkpoint.image} {checkpoint.layer}"
            return False, f"older than the newest {keep} of {checkpoint.image} {checkpoint.layer}"


def _age_key(checkpoint: StoredCheckpoint) -> tuple[datetime, str]:
    return checkpoint.created_at or datetime.min.replace(tzinfo=UTC), checkpoint.name
