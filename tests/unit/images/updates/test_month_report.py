"""A monthly run as a table and as a text: every image is there once, and a preview never passes for a security release."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from images.updates.month_report import MonthOutcome, MonthReport, MonthRow
from images.updates.update_note import UpdateNote


def note(kb: str, text: str) -> UpdateNote:
    return UpdateNote(kb=kb, text=text)


MADE = datetime(2026, 8, 12, 19, 30, 5, tzinfo=UTC)
BUILT = MonthRow(
    image="windows-2022",
    outcome="built",
    old_build="20348.5386",
    new_build="20348.5499",
    version="20348.5499.26081201",
    kbs=("KB5120241", "KB5120242"),
    cves=("CVE-2026-1", "CVE-2026-2"),
    tests_passed=12,
    minutes=131.4,
    link="https://example.com/builds/windows-2022/image.vhd",
    notes=(note("KB5110001", "left out, replaced by KB5120242"),),
)
PREVIEW = MonthRow(
    image="windows-2025",
    outcome="built",
    old_build="26100.33296",
    new_build="26100.33335",
    version="26100.33335.26082601",
    kbs=("KB9003335",),
    previews=("KB9003335",),
)
UNCHANGED = MonthRow(
    image="windows-2019", outcome="unchanged", new_build="17763.8880", version="17763.8880.26061001", notes=(note("", "no B release"),)
)
FAILED = MonthRow(image="windows-2016", outcome="failed", failure="KB5120242: exit code -2146498270")


def report(*rows: MonthRow, **more: Any) -> MonthReport:
    return MonthReport(**{"month": "2026-08", "kind": "b-week", "made": MADE, "rows": rows, **more})


def test_a_row_shows_old_and_new_build_kbs_tests_minutes_and_link() -> None:
    assert BUILT.cells() == {
        "image": "windows-2022",
        "outcome": "built",
        "Windows": "20348.5386 → 20348.5499",
        "version": "20348.5499.26081201",
        "KBs": "KB5120241, KB5120242",
        "CVEs": 2,
        "tests passed": 12,
        "minutes": 131.4,
        "VHD": "https://example.com/builds/windows-2022/image.vhd",
        "notes": "KB5110001: left out, replaced by KB5120242",
    }


def test_an_image_that_is_as_it_was_shows_one_build() -> None:
    assert UNCHANGED.cells()["Windows"] == "17763.8880"
    assert BUILT.model_copy(update={"old_build": "20348.5499"}).cells()["Windows"] == "20348.5499"


def test_a_preview_is_marked_in_every_form() -> None:
    cells = PREVIEW.cells()
    assert (cells["KBs"], cells["version"]) == ("KB9003335 (preview)", "26100.33335.26082601 (preview)")
    text = report(PREVIEW, kind="preview").markdown()
    assert text.startswith("# 2026-08 optional previews: 1 built\n")
    assert "## windows-2025: built, with an optional preview" in text
    assert "- KB9003335 (preview)\n" in text


def test_an_unchanged_image_that_holds_a_preview_is_marked_although_nothing_came() -> None:
    row = PREVIEW.model_copy(update={"outcome": "unchanged", "kbs": (), "old_build": ""})
    assert row.cells()["version"] == "26100.33335.26082601 (preview)"
    assert "with an optional preview" in report(row).markdown()


def test_the_report_tells_kbs_fixes_and_reasons() -> None:
    text = report(BUILT, UNCHANGED, FAILED).markdown()
    assert text.splitlines()[0] == "# 2026-08 B release: 1 built, 1 unchanged, 1 failed"
    assert "- version 20348.5499.26081201, Windows 20348.5499, before 20348.5386" in text
    assert "- fixes 2 vulnerabilities: CVE-2026-1, CVE-2026-2" in text
    assert "- VHD: <https://example.com/builds/windows-2022/image.vhd>" in text
    assert "## windows-2016: failed\n\n- KB5120242: exit code -2146498270" in text
    assert "preview" not in text


def test_each_fact_is_told_once_with_all_kbs_and_images_of_which_it_is_true() -> None:
    replaced, release = "left out, replaced by KB9", note("", "no preview for Windows Server 2022 in 2026-08")
    older = BUILT.model_copy(update={"image": "older", "notes": (release, *(note(kb, replaced) for kb in ("KB1", "KB2", "KB3")))})
    newer = BUILT.model_copy(update={"image": "newer", "notes": (release, *(note(kb, replaced) for kb in ("KB2", "KB3")))})
    told = report(older, newer).markdown().partition("## Notes\n\n")[2].splitlines()
    assert told == [
        "- no preview for Windows Server 2022 in 2026-08 (all images)",
        "- KB1: left out, replaced by KB9 (older)",
        "- KB2, KB3: left out, replaced by KB9 (all images)",
    ]


def test_notes_of_one_image_name_it_and_a_report_without_notes_has_no_section() -> None:
    assert "## Notes\n\n- no B release (windows-2019)\n" in report(UNCHANGED).markdown()
    assert "## Notes" not in report(FAILED).markdown()


def test_a_cell_counts_what_would_make_it_long() -> None:
    many = tuple(note(f"KB{number}", "left out, replaced by KB9") for number in range(1, 5))
    row = FAILED.model_copy(update={"notes": (*many, note("KB5", "without a file"))})
    assert row.cells()["notes"] == f"{FAILED.failure}; 4 updates: left out, replaced by KB9; KB5: without a file"
    assert "- KB1, KB2, KB3, KB4: left out, replaced by KB9 (windows-2016)" in report(row).markdown()


def test_a_run_without_images_says_so() -> None:
    assert report().summary() == "no images"


def test_two_runs_of_a_month_have_names_of_their_own_that_sort_by_time() -> None:
    first, second = report(BUILT), report(BUILT, made=MADE + timedelta(seconds=1))
    assert first.name == "2026-08-b-week-20260812T193005"
    assert first.name < second.name


@pytest.mark.parametrize("month", ["2026-13", "August", "2026-8"])
def test_what_is_no_month_is_refused(month: str) -> None:
    with pytest.raises(ValidationError):
        report(month=month)


def _rows() -> st.SearchStrategy[list[MonthRow]]:
    names = st.text("abcdefgh-0123456789", min_size=1, max_size=12)
    outcomes: st.SearchStrategy[MonthOutcome] = st.sampled_from(get_args(MonthOutcome))
    return st.lists(st.builds(MonthRow, image=names, outcome=outcomes), max_size=8, unique_by=lambda row: row.image)


@given(_rows())
def test_every_image_is_counted_once_and_has_one_section(rows: list[MonthRow]) -> None:
    made = report(*rows)
    parts = [made.of(outcome) for outcome in get_args(MonthOutcome)]
    assert sorted(row.image for part in parts for row in part) == sorted(row.image for row in rows)
    counts = [int(part.split()[0]) for part in made.summary().split(", ")] if rows else []
    assert sum(counts) == len(rows)
    assert 0 not in counts
    sections = [line for line in made.markdown().splitlines() if line.startswith("## ")]
    assert sections == [f"## {row.image}: {row.outcome}" for row in rows]
    assert all(isinstance(value, str | int | float) for row in rows for value in row.cells().values())
