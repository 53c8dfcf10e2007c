"""The outcome of a monthly run over all images: one row each, for a table and for people."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Literal

from pydantic import Field

from images.frozen import Frozen
from images.updates.patch_week import Month
from images.updates.update_note import UpdateNote, gather_notes

_NAMED_KBS = 3
"""More KBs than these are counted in a table's cell: the report names them all."""

MonthOutcome = Literal["built", "unchanged", "failed"]


class MonthRow(Frozen):
    """What the month brought for one image."""

    image: str
    outcome: MonthOutcome
    old_build: str = Field(default="", description="build.UBR of the release before; empty for a first one, and where nothing was built.")
    new_build: str = ""
    version: str = ""
    kbs: tuple[str, ...] = Field(default=(), description="KBs that came since the release before.")
    previews: tuple[str, ...] = Field(default=(), description="Optional previews that the image holds.")
    cves: tuple[str, ...] = Field(default=(), description="Vulnerabilities that the KBs fix.")
    tests_passed: int = 0
    minutes: float = 0.0
    link: str = Field(default="", description="Where the VHD is.")
    failure: str = Field(default="", description="Why it failed; empty when it did not.")
    notes: tuple[UpdateNote, ...] = Field(default=(), description="Why something is left out.")

    @property
    def windows(self) -> str:
        """build.UBR before → after; one of them where there is no other."""
        return f"{self.old_build} → {self.new_build}" if self.old_build and self.old_build != self.new_build else self.new_build

    @property
    def marked_kbs(self) -> tuple[str, ...]:
        """The KBs, previews marked as such."""
        return tuple(f"{kb} (preview)" if kb in self.previews else kb for kb in self.kbs)

    def cells(self) -> dict[str, str | float | int]:
        """The row as a table shows it."""
        return {
            "image": self.image,
            "outcome": self.outcome,
            "Windows": self.windows,
            "KBs": ", ".join(self.marked_kbs),
            "CVEs": len(self.cves),
            "tests passed": self.tests_passed,
            "minutes": self.minutes,
            "version": f"{self.version} (preview)" if self.previews and self.version else self.version,
            "VHD": self.link,
            "notes": "; ".join(self._short_notes()),
        }

    def _short_notes(self) -> Iterator[str]:
        if self.failure:
            yield self.failure
        for note in gather_notes({self.image: self.notes}):
            yield note.short(_NAMED_KBS)


class MonthReport(Frozen):
    """A monthly run."""

    month: Month
    kind: Literal["b-week", "preview"]
    made: datetime = Field(description="When the run ended, with its zone: runs of one month and kind have a report each.")
    rows: tuple[MonthRow, ...]

    @property
    def name(self) -> str:
        """The report's name in files and blobs, for example 2026-11-b-week-20261111T190000."""
        return f"{self.month}-{self.kind}-{self.made:%Y%m%dT%H%M%S}"

    @property
    def title(self) -> str:
        """2026-11 B release; a preview says so."""
        return f"{self.month} {'optional previews' if self.kind == 'preview' else 'B release'}"

    def of(self, outcome: MonthOutcome) -> tuple[MonthRow, ...]:
        """The rows with one outcome."""
        return tuple(row for row in self.rows if row.outcome == outcome)

    def summary(self) -> str:
        """One line: how many images were built, unchanged, failed."""
        counted = [(len(self.of(outcome)), outcome) for outcome in ("built", "unchanged", "failed")]
        return ", ".join(f"{count} {outcome}" for count, outcome in counted if count) or "no images"

    def markdown(self) -> str:
        """The report for people: each image with its KBs and the CVEs that they fix, then what is left out and why, each fact once."""
        return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        yield f"# {self.title}: {self.summary()}"
        for row in self.rows:
            yield ""
            yield f"## {row.image}: {row.outcome}{', with an optional preview' if row.previews else ''}"
            yield ""
            if row.version:
                came = f", before {row.old_build}" if row.old_build and row.old_build != row.new_build else ""
                yield f"- version {row.version}, Windows {row.new_build}{came}"
            yield from (f"- {kb}" for kb in row.marked_kbs)
            if row.cves:
                yield f"- fixes {len(row.cves)} vulnerabilities: {', '.join(row.cves)}"
            if row.failure:
                yield f"- {row.failure}"
            if row.link:
                yield f"- VHD: <{row.link}>"
        notes = gather_notes({row.image: row.notes for row in self.rows})
        if notes:
            yield from ("", "## Notes", "")
            yield from (f"- {note.sentence} ({self._names(note.images)})" for note in notes)

    def _names(self, images: tuple[str, ...]) -> str:
        return "all images" if len(images) == len(self.rows) > 1 else ", ".join(images)
