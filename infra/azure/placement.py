"""Where to try a VM: sizes and zones in the profile's order, and what each refusal rules out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from images.errors import AllocationError

T = TypeVar("T")


@dataclass(frozen=True)
class Placement:
    """One size, in one zone or in none (Azure chooses)."""

    size: str
    zone: str | None

    def __str__(self) -> str:
        return f"{self.size} in zone {self.zone}" if self.zone else self.size


def placements(sizes: Sequence[str], zones: Sequence[str]) -> list[Placement]:
    """Every size in every zone; the first size in all its zones comes before the second size."""
    return [Placement(size, zone) for size in sizes for zone in (zones or (None,))]


def allocate(candidates: Sequence[Placement], attempt: Callable[[Placement], T], on_event: Callable[[str], None] = lambda _: None) -> T:
    """What the first placement that Azure accepts gives; AllocationError naming every refusal when none does.

    `attempt` raises AllocationError for a refusal; anything else ends the search.
    """
    refused: list[tuple[Placement, AllocationError]] = []
    without_quota: set[str] = set()
    for placement in candidates:
        if placement.size in without_quota:
            continue
        try:
            return attempt(placement)
        except AllocationError as error:
            refused.append((placement, error))
            on_event(f"{placement} refused: {error.code}")
            # Quota counts per region and size family: another zone of the same size meets the same limit.
            if error.code == "QuotaExceeded":
                without_quota.add(placement.size)
    tries = "; ".join(f"{placement}: {error.code}" for placement, error in refused)
    last = refused[-1][1] if refused else None
    raise AllocationError(
        f"no size and zone was available, tried {tries}" if refused else "no size and zone to try",
        code=last.code if last else "",
        status=last.status if last else 0,
        request_id=last.request_id if last else "",
        hint=last.hint if last else "give vm_sizes in the profile",
    )
