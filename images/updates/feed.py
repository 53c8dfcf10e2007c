"""FeedUpdate: one update for one Windows build, as a feed describes it."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from images.definition import HttpUrl, KbNumber, Sha256
from images.frozen import Frozen
from images.updates.patch_week import Month, PatchWeek, month_of, patch_tuesday, week_of


class UpdateKind(StrEnum):
    """What sort of package an update is.

    Terms: https://learn.microsoft.com/windows/deployment/update/release-cycle (cumulative, preview) and
    https://learn.microsoft.com/windows/deployment/update/catalog-checkpoint-cumulative-updates (checkpoint).
    """

    CUMULATIVE = "cumulative"
    SERVICING_STACK = "servicing-stack"
    HOTPATCH = "hotpatch"
    MONTHLY_ROLLUP = "monthly-rollup"
    DOTNET = "dotnet"
    CHECKPOINT = "checkpoint"
    PREVIEW = "preview"
    OTHER = "other"


CUMULATIVE_KINDS = frozenset({UpdateKind.CUMULATIVE, UpdateKind.CHECKPOINT, UpdateKind.PREVIEW})
"""Each of these holds all that came before it: a newer one supersedes every older one."""


class FeedUpdate(Frozen):
    """One update for one Windows build; a KB that serves several builds is one FeedUpdate for each of them."""

    kb: KbNumber = Field(description="KB number, with the letters KB.")
    products: tuple[str, ...] = Field(default=(), description="Names of the products, as the feed spells them.")
    windows_build: int = Field(gt=0, description="The Windows build that it is for: 17763, 20348, 26100.")
    fixed_build: str | None = Field(
        default=None, pattern=r"^\d+\.\d+$", description="build.UBR that Windows reports afterwards; absent where it leaves that alone."
    )
    kind: UpdateKind = Field(description="What sort of package it is.")
    released: date = Field(description="Day of release in America/Los_Angeles.")
    supersedes: tuple[KbNumber, ...] = Field(default=(), description="Updates that it replaces.")
    cves: tuple[str, ...] = Field(default=(), description="Vulnerabilities that it fixes.")
    restart_required: bool = Field(default=True, description="False only when the feed promises that no restart is needed.")
    url: HttpUrl | None = Field(default=None, description="Where the .msu or .cab is.")
    sha256: Sha256 | None = Field(default=None, description="Hash of the file.")
    size_bytes: int | None = Field(default=None, ge=0, description="Size of the file.")

    @model_validator(mode="after")
    def _fixed_build_is_of_this_windows(self) -> Self:
        if self.fixed_build is not None and build_numbers(self.fixed_build)[0] != self.windows_build:
            raise ValueError(f"fixed_build {self.fixed_build} is not of Windows build {self.windows_build}")
        return self

    @property
    def month(self) -> Month:
        """The month of its release, for example 2026-08."""
        return month_of(self.released)

    @property
    def week(self) -> PatchWeek:
        """The week of its release: B is the one that begins with the second Tuesday."""
        return week_of(self.released)

    @property
    def out_of_band(self) -> bool:
        """True for a cumulative update that came on another day than the second Tuesday and is no preview."""
        of_patch_tuesday = self.kind in (UpdateKind.CUMULATIVE, UpdateKind.CHECKPOINT)
        return of_patch_tuesday and self.released != patch_tuesday(self.released.year, self.released.month)

    @property
    def cumulative(self) -> bool:
        """True when it holds every fix before it, so that a newer one of these supersedes it."""
        return self.kind in CUMULATIVE_KINDS


def build_numbers(build: str) -> tuple[int, ...]:
    """20348.5499 as integers: as text, 20348.999 would be newer than 20348.5499. ValueError for anything else.

    >>> build_numbers("20348.999") < build_numbers("20348.5499")
    True
    """
    return tuple(int(part) for part in build.split("."))
