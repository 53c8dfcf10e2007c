"""The Windows builds that the stand-in's outside knows: what "newest" means there, and which update is for which build."""

from __future__ import annotations

import re
from dataclasses import dataclass

NEWEST_UBR = {17763: 4252, 20348: 5499, 26100: 33296}
"""Update build revision of the newest cumulative update: the reference release notes (17763, 20348) and AgentBaker's base versions."""

LTSC_BUILDS = {"ltsc2019": 17763, "1809": 17763, "ltsc2022": 20348, "ltsc2025": 26100}
"""Servicing-channel tags of the Windows container images and the build each one follows; 17763 is also called by its release, 1809."""


@dataclass(frozen=True)
class UpdateFacts:
    """What an update's file says about itself. promised_ubr is None for an update that leaves the build number alone."""

    kb: str
    builds: tuple[int, ...]
    promised_ubr: int | None
    description: str
    title: str


KNOWN_UPDATES = {
    "KB5022511": UpdateFacts("KB5022511", (17763,), None, "Update", "2023-02 Update for .NET Framework 4.7.2 for Windows Server 2019"),
    "KB5025229": UpdateFacts("KB5025229", (17763,), 4252, "Security Update", "2023-04 Cumulative Update for Windows Server 2019"),
    "KB5023789": UpdateFacts("KB5023789", (17763,), None, "Security Update", "2023-03 Servicing Stack Update for Windows Server 2019"),
    "KB5120705": UpdateFacts("KB5120705", (20348,), None, "Update", "2026-08 Update for .NET Framework for Windows Server 2022"),
    "KB5120242": UpdateFacts("KB5120242", (20348,), 5499, "Security Update", "2026-08 Cumulative Update for Windows Server 2022"),
    "KB5120241": UpdateFacts("KB5120241", (20348,), None, "Security Update", "2026-08 Servicing Stack Update for Windows Server 2022"),
    "KB5043080": UpdateFacts(
        "KB5043080", (26100,), 1742, "Security Update", "2024-09 Checkpoint Cumulative Update for Windows Server 2025"
    ),
}
"""KBs of the reference release notes, and the first checkpoint update of 26100."""


def update_facts(url: str) -> UpdateFacts | None:
    """Facts about the update at a URL, None when the URL names no KB.

    A `build.UBR` in the URL (…kb5999999-x64-20348.5600.msu) says what the update promises; without it the table above does, and an
    unknown KB is an update without promise for the builds that its file name prefix stands for.
    """
    found = re.search(r"kb(\d{6,8})", url, re.IGNORECASE)
    if found is None:
        return None
    kb = f"KB{found.group(1)}"
    promise = re.search(r"(?<!\d)(17763|20348|26100)\.(\d{2,6})(?!\d)", url)
    if promise is not None:
        build, ubr = int(promise.group(1)), int(promise.group(2))
        return UpdateFacts(kb, (build,), ubr, "Security Update", f"Cumulative Update for build {build}.{ubr} ({kb})")
    if kb in KNOWN_UPDATES:
        return KNOWN_UPDATES[kb]
    builds = (26100,) if "windows11.0" in url.lower() else (17763, 20348)
    return UpdateFacts(kb, builds, None, "Update", f"Update for Windows Server ({kb})")
