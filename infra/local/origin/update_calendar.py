"""What the stand-in's Microsoft released, day by day: cumulative updates, previews, servicing stacks, .NET, and marketplace images.

Real are the calendar (second Tuesday, previews in the fourth week, a month without a release now and then, out-of-band releases), the
builds of AgentBaker's windows_settings.json (2026-06 to 2026-08) and aks-engine's 2019 images (2023), and the KBs of their release notes.
The other builds are made up between those, and a made-up KB begins with KB9, where Microsoft has none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

IMAGE_DELAY = timedelta(days=7)
"""How long after its cumulative update a marketplace image appears: the stand-in's figure. Azure's images follow within the same month."""

ReleaseKind = Literal["b-release", "checkpoint", "out-of-band", "preview"]

_REAL_KBS = {(17763, 4252): "KB5025229", (20348, 5499): "KB5120242", (26100, 1742): "KB5043080"}


@dataclass(frozen=True)
class CumulativeUpdate:
    """One cumulative update: what it brings a build to, when it came, and the date in the version of the image that followed (yymmdd)."""

    build: int
    ubr: int
    released: date
    kind: ReleaseKind = "b-release"
    image_date: str = ""

    @property
    def kb(self) -> str:
        """Its KB number."""
        return cumulative_update_kb(self.build, self.ubr)

    @property
    def fixed_build(self) -> str:
        """build.UBR."""
        return f"{self.build}.{self.ubr}"

    @property
    def image_version(self) -> str | None:
        """The marketplace version that holds it, None when no image followed."""
        return f"{self.fixed_build}.{self.image_date}" if self.image_date else None

    @property
    def image_released(self) -> date:
        """The day on which that version appeared."""
        return self.released + IMAGE_DELAY


@dataclass(frozen=True)
class SideUpdate:
    """An update that leaves the build number alone."""

    kb: str
    build: int
    released: date
    kind: Literal["servicing-stack", "dotnet"]


def cumulative_update_kb(build: int, ubr: int) -> str:
    """KB of the cumulative update that brings a build to an update build revision.

    The real number where a reference names it; otherwise one that begins with KB9: the stand-in made it up.
    """
    return _REAL_KBS.get((build, ubr), f"KB9{build % 100:02d}{ubr % 10000:04d}")


_OF_2019 = """
    2023-03-14 4131 230303
    2023-04-11 4252 230404
    2023-05-09 4377 230505
    2023-07-11 4645 230707
    2023-08-08 4737 230808
    2025-10-14 7919 251009
    2025-11-11 8027 251106
    2025-12-09 8146 251204
    2026-01-13 8276 260108
    2026-02-10 8389 260205
    2026-03-10 8511 260305
    2026-04-14 8644 260409
    2026-05-12 8755 260507
    2026-06-09 8880 260604
    2026-08-11 9012 260806
    2026-09-08 9120 260903
    2026-10-13 9244 261008
    2026-11-10 9365 261105
"""
"""July 2026 has no release for Windows Server 2019, and 2019 has no previews any more."""

_OF_2022 = """
    2025-10-14 4294 251009
    2025-10-28 4330 preview
    2025-11-11 4405 251106
    2025-11-25 4441 preview
    2025-12-09 4529 251204
    2026-01-13 4648 260108
    2026-01-17 4660 out-of-band
    2026-01-27 4689 preview
    2026-02-10 4773 260205
    2026-02-24 4812 preview
    2026-03-10 4893 260305
    2026-03-24 4931 preview
    2026-04-14 5020 260409
    2026-04-28 5058 preview
    2026-05-12 5139 260507
    2026-06-09 5256 260609
    2026-06-23 5294 preview
    2026-07-14 5386 260709
    2026-07-28 5421 preview
    2026-08-11 5499 260809
    2026-08-25 5538 preview
    2026-09-08 5622 260903
    2026-09-22 5660 preview
    2026-10-13 5741 261008
    2026-10-27 5779 preview
    2026-11-10 5868 261105
    2026-11-24 5903 preview
"""

_OF_2025 = """
    2024-09-10 1742 checkpoint
    2025-10-14 6899 251009
    2025-10-28 6938 preview
    2025-11-11 7171 251106
    2025-11-25 7209 preview
    2025-12-09 7456 251204
    2026-01-13 32230 260108
    2026-01-17 32236 out-of-band
    2026-01-27 32269 preview
    2026-02-10 32370 260205
    2026-02-24 32408 preview
    2026-03-10 32522 260305
    2026-03-24 32561 preview
    2026-04-14 32690 260409
    2026-04-28 32728 preview
    2026-05-12 32860 260507
    2026-05-26 32897 preview
    2026-06-09 32995 260609
    2026-06-23 33034 preview
    2026-07-14 33158 260713
    2026-07-28 33196 preview
    2026-08-11 33296 260809
    2026-08-25 33335 preview
    2026-09-08 33441 260903
    2026-09-22 33480 preview
    2026-10-13 33580 261008 checkpoint
    2026-10-27 33619 preview
    2026-11-10 33725 261105
    2026-11-24 33764 preview
"""


def _read(build: int, table: str) -> Iterator[CumulativeUpdate]:
    """Rows of day, UBR, and the image's date, the kind, or both."""
    kinds: dict[str, ReleaseKind] = {"preview": "preview", "out-of-band": "out-of-band", "checkpoint": "checkpoint"}
    for row in table.strip().splitlines():
        day, ubr, *words = row.split()
        kind: ReleaseKind = next((kinds[word] for word in words if word in kinds), "b-release")
        image = next((word for word in words if word.isdecimal()), "")
        yield CumulativeUpdate(build, int(ubr), date.fromisoformat(day), kind, image)


CUMULATIVE_UPDATES: tuple[CumulativeUpdate, ...] = (*_read(17763, _OF_2019), *_read(20348, _OF_2022), *_read(26100, _OF_2025))
"""By build, old to new."""

SIDE_UPDATES: tuple[SideUpdate, ...] = (
    SideUpdate("KB5022511", 17763, date(2023, 2, 14), "dotnet"),
    SideUpdate("KB5023789", 17763, date(2023, 3, 14), "servicing-stack"),
    SideUpdate("KB97632510", 17763, date(2025, 10, 14), "dotnet"),
    SideUpdate("KB96632603", 17763, date(2026, 3, 10), "servicing-stack"),
    SideUpdate("KB97632604", 17763, date(2026, 4, 14), "dotnet"),
    SideUpdate("KB96482509", 20348, date(2025, 9, 9), "servicing-stack"),
    SideUpdate("KB97482509", 20348, date(2025, 9, 9), "dotnet"),
    SideUpdate("KB97482601", 20348, date(2026, 1, 13), "dotnet"),
    SideUpdate("KB97482604", 20348, date(2026, 4, 14), "dotnet"),
    SideUpdate("KB5120241", 20348, date(2026, 8, 11), "servicing-stack"),
    SideUpdate("KB5120705", 20348, date(2026, 8, 11), "dotnet"),
    SideUpdate("KB97482610", 20348, date(2026, 10, 13), "dotnet"),
    SideUpdate("KB97002610", 26100, date(2026, 10, 13), "dotnet"),
)
"""Servicing stack and .NET updates, old to new within each build."""


def newest(build: int, day: date | None = None) -> CumulativeUpdate:
    """The newest update of a build that is no preview, on a day (None: of all). Container base images follow it."""
    found = [
        each for each in CUMULATIVE_UPDATES if each.build == build and each.kind != "preview" and (day is None or each.released <= day)
    ]
    return found[-1] if found else next(each for each in CUMULATIVE_UPDATES if each.build == build)


def cumulative_update(build: int, ubr: int) -> CumulativeUpdate | None:
    """The update that brings a build to a revision, None for one that was never released."""
    return next((each for each in CUMULATIVE_UPDATES if (each.build, each.ubr) == (build, ubr)), None)


def checkpoint_before(build: int, ubr: int) -> CumulativeUpdate | None:
    """The checkpoint that an update of this revision is a difference to, None when there is none."""
    found = [each for each in CUMULATIVE_UPDATES if each.kind == "checkpoint" and each.build == build and each.ubr < ubr]
    return found[-1] if found else None


def image_versions(build: int) -> tuple[CumulativeUpdate, ...]:
    """The updates of a build that a marketplace image followed, old to new."""
    return tuple(each for each in CUMULATIVE_UPDATES if each.build == build and each.image_date)


def side_updates_in(build: int, ubr: int) -> tuple[SideUpdate, ...]:
    """The newest servicing stack and .NET update that an image of this revision holds."""
    cumulative = cumulative_update(build, ubr)
    own = [each for each in SIDE_UPDATES if each.build == build]
    there = [each for each in own if cumulative is None or each.released <= cumulative.released]
    newest_of_kind = {each.kind: each for each in there}
    return tuple(sorted(newest_of_kind.values(), key=lambda each: each.kb))
