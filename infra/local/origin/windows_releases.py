"""The Windows builds that the stand-in's outside knows: container tags that follow them, and what the file behind an update's URL says."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import date

from infra.local.origin.update_calendar import (
    CUMULATIVE_UPDATES,
    SIDE_UPDATES,
    CumulativeUpdate,
    SideUpdate,
    checkpoint_before,
)

MULTI_PLATFORM_UBR = {17763: 4252, 20348: 5499, 26100: 33296}
"""Revisions in the indexes of images for several builds: those were built once and do not change with each month."""

LTSC_BUILDS = {"ltsc2019": 17763, "1809": 17763, "ltsc2022": 20348, "ltsc2025": 26100}
"""Servicing-channel tags of the Windows container images and the build each one follows; 17763 is also called by its release, 1809."""

_CATALOG_TITLES = {
    17763: "Windows Server 2019",
    20348: "Microsoft server operating system version 21H2",
    26100: "Microsoft server operating system version 24H2",
}
_NAMES = {17763: "Windows Server 2019", 20348: "Windows Server 2022", 26100: "Windows Server 2025"}
DOWNLOADS = "https://catalog.s.download.windowsupdate.com/c/msdownload/update/software"


@dataclass(frozen=True)
class UpdateFacts:
    """What an update's file says about itself. promised_ubr is None for an update that leaves the build number alone."""

    kb: str
    builds: tuple[int, ...]
    promised_ubr: int | None
    description: str
    title: str
    needs_ubr: int | None = None
    """Revision of the checkpoint that the file is a difference to."""
    released: date | None = None
    """The day from which the file is there; None for one that was always there."""


def catalog_title(update: CumulativeUpdate | SideUpdate) -> str:
    """The title in the Update Catalog, without the KB in parentheses."""
    month, product = f"{update.released:%Y-%m}", _CATALOG_TITLES[update.build]
    match update.kind:
        case "preview":
            return f"{month} Cumulative Update Preview for {product} for x64-based Systems"
        case "servicing-stack":
            return f"{month} Servicing Stack Update for {product} for x64-based Systems"
        case "dotnet":
            return f"{month} Cumulative Update for .NET Framework for {product} for x64"
        case _:
            return f"{month} Cumulative Update for {product} for x64-based Systems"


def download_url(update: CumulativeUpdate | SideUpdate) -> str:
    """Where the file of an update is; a Windows Update agent fetches it from there, too."""
    system = "windows11.0" if update.build == 26100 else "windows10.0"
    ndp = "-ndp" if update.kind == "dotnet" else ""
    digest = hashlib.sha1(f"{update.kb} {update.build}".encode(), usedforsecurity=False).hexdigest()
    folder = "updt" if update.kind == "preview" else "secu"
    return f"{DOWNLOADS}/{folder}/{update.released:%Y/%m}/{system}-{update.kb.lower()}-x64{ndp}_{digest}.msu"


def find_update(kb: str, build: int | None = None) -> CumulativeUpdate | SideUpdate | None:
    """The released update with a KB number, for one build when it is given."""
    known: tuple[CumulativeUpdate | SideUpdate, ...] = (*CUMULATIVE_UPDATES, *SIDE_UPDATES)
    return next((each for each in known if each.kb == kb.upper() and build in (None, each.build)), None)


def update_facts(url: str) -> UpdateFacts | None:
    """Facts about the update at a URL, None when the URL names no KB.

    A `build.UBR` in the URL (…kb5999999-x64-20348.5600.msu) says what the update promises, and that it needs no checkpoint; without it the
    calendar tells both, and an unknown KB is an update without promise for the builds that its file name prefix stands for.
    """
    found = re.search(r"kb(\d{6,8})", url, re.IGNORECASE)
    if found is None:
        return None
    kb = f"KB{found.group(1)}"
    promise = re.search(r"(?<!\d)(17763|20348|26100)\.(\d{2,6})(?!\d)", url)
    if promise is not None:
        build, ubr = int(promise.group(1)), int(promise.group(2))
        return UpdateFacts(kb, (build,), ubr, "Security Update", f"Cumulative Update for build {build}.{ubr} ({kb})")
    known = find_update(kb)
    if known is not None:
        return _known(known, released=known.released if url.startswith(DOWNLOADS) else None)
    builds = (26100,) if "windows11.0" in url.lower() else (17763, 20348)
    return UpdateFacts(kb, builds, None, "Update", f"Update for Windows Server ({kb})")


def _known(update: CumulativeUpdate | SideUpdate, released: date | None) -> UpdateFacts:
    name, month = _NAMES[update.build], f"{update.released:%Y-%m}"
    if isinstance(update, SideUpdate):
        sort, description = (
            ("Servicing Stack Update", "Security Update")
            if update.kind == "servicing-stack"
            else (
                "Update for .NET Framework",
                "Update",
            )
        )
        return UpdateFacts(update.kb, (update.build,), None, description, f"{month} {sort} for {name}", released=released)
    sort = {"checkpoint": "Checkpoint Cumulative Update", "preview": "Cumulative Update Preview"}.get(update.kind, "Cumulative Update")
    description = "Update" if update.kind == "preview" else "Security Update"
    needs = _needs(update.build, update.ubr)
    return UpdateFacts(update.kb, (update.build,), update.ubr, description, f"{month} {sort} for {name}", needs, released)


def _needs(build: int, ubr: int) -> int | None:
    checkpoint = checkpoint_before(build, ubr)
    return checkpoint.ubr if checkpoint else None
