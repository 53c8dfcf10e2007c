"""Makes an NTFS volume from a folder without root: mkntfs, wimcapture, wimapply."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from infra.local.disks.foreign_tools import run_tool

# wimcapture leaves out the page file and the like unless it is told to take everything.
_TAKE_EVERYTHING = "[ExclusionList]\n"


def make_ntfs_volume(volume: Path, size_bytes: int, first_sector: int, sources: Iterable[tuple[Path, str]], work: Path, label: str) -> None:
    """Write a sparse file with an NTFS volume; `sources` are folders and the places on the volume where their content goes.

    first_sector is the volume's place on its disk, which NTFS keeps in its boot sector. Raises MissingToolError and CaptureError.
    """
    with volume.open("wb") as file:
        file.truncate(size_bytes)
    run_tool("mkntfs", "-F", "-Q", "-q", "-c", "4096", "-s", "512", "-p", str(first_sector), "-H", "255", "-S", "63", "-L", label, volume)
    config, listing, archive = work / "capture.ini", work / "sources.txt", work / "content.wim"
    config.write_text(_TAKE_EVERYTHING, encoding="utf-8")
    # In a source list a quoted text is one path; later sources lie over earlier ones.
    listing.write_text("".join(f'"{source}" "{place}"\n' for source, place in sources), encoding="utf-8")
    run_tool(
        "wimcapture", "--source-list", listing, archive, "--compress=none", f"--config={config}", "--no-acls", "--norpfix", "--threads=2"
    )
    run_tool("wimapply", archive, "1", volume)
    archive.unlink()
