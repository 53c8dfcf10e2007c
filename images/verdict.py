"""What a private fix did: the checks of the unpatched image beside those of the patched one, and one verdict.

A check is judged by all its runs on one image: it passes, it fails (each time, and at least twice), it is flaky (both), or it is unsettled
(it failed once and was not repeated, or it was never run). Then, check by check:

    baseline \\ patched   passes       fails        flaky        unsettled
    passes               same         regression   flaky        unclear
    fails                fixed        still fails  unclear      unclear
    flaky                flaky        unclear      flaky        unclear
    unsettled            unclear      unclear      unclear      unclear

A flake is no evidence: it neither makes nor spoils a verdict, unless it hides which of the two a real failure is (unclear). The checks of
images.fix_in_effect are not compared: they tell whether the VM that was tested had the fix at all. The first line of these that holds is
the verdict:

    1. the fix was not in effect on the tested VM               inconclusive
    2. a check is a regression                                  regression, or inconclusive when the base held the fix before
    3. a check is unclear, or there are none                    inconclusive
    4. a check is fixed                                         fixed, or inconclusive when the base held the fix before
    5. the base held the fix before, or a check still fails     no effect
    6. nothing failed that a fix could cure                     inconclusive
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Final

from pydantic import Field

from images.e2e import E2ECase
from images.fix_in_effect import SUITE, in_effect, what_was_lost
from images.frozen import Frozen
from images.private_fix import PrivateFix

FAILURES_TO_SETTLE: Final = 2
"""Runs that must all fail before a check counts as failing: one more than the run that failed first."""
_SPEAKING_NAME = re.compile(r"[A-Za-z][A-Za-z' ]{1,78}")


class Outcome(StrEnum):
    """The verdict."""

    FIXED = "fixed"
    NO_EFFECT = "no effect"
    REGRESSION = "regression"
    INCONCLUSIVE = "inconclusive"


class CheckState(StrEnum):
    """What all runs of a check on one image say."""

    PASSES = "passes"
    FAILS = "fails"
    FLAKY = "flaky"
    UNSETTLED = "unsettled"


class Change(StrEnum):
    """What became of a check."""

    SAME = "same"
    FIXED = "fixed"
    STILL_FAILS = "still fails"
    REGRESSION = "regression"
    FLAKY = "flaky"
    UNCLEAR = "unclear"


class SideResult(Frozen):
    """A check's runs on one image."""

    state: CheckState
    runs: int
    failures: int
    seconds: float = Field(description="Mean of all runs.")

    def __str__(self) -> str:
        if self.runs == 0:
            return "not run"
        return f"{self.state} ({self.failures} of {self.runs} failed)" if self.failures else str(self.state)


class VerdictRow(Frozen):
    """One check on both images."""

    suite: str
    name: str
    baseline: SideResult
    patched: SideResult
    change: Change


class Verdict(Frozen):
    """The verdict, the reasons for it in full sentences, and what it rests on."""

    outcome: Outcome
    reasons: tuple[str, ...]
    rows: tuple[VerdictRow, ...]
    in_effect: bool | None = Field(description="Whether the fix was in effect on the tested VM; None when that can not be checked.")

    @property
    def counts(self) -> dict[Change, int]:
        """How many checks became what, without those that are 0."""
        return dict(Counter(row.change for row in self.rows))


def judge_fix(
    baseline: Sequence[E2ECase], patched: Sequence[E2ECase], *, already_present: bool | None = False, test_signed: bool = False
) -> Verdict:
    """The verdict from every run of every check on both images, repeats included, in any order.

    `already_present`: the base held the fix before it was installed (None: nobody can tell). `test_signed`: both sides ran without Secure
    Boot, the patched one with test signing, which the reasons say. Whether the fix was in effect is among the patched image's checks.
    """
    effect = in_effect(patched)
    sides = _by_check(baseline), _by_check(patched)
    rows = tuple(_row(check, *(side.get(check, []) for side in sides)) for check in dict.fromkeys((*sides[0], *sides[1])))
    counts = Counter(row.change for row in rows)
    lost = what_was_lost(patched) if effect is False else ""
    outcome, reason = _outcome(counts, lost, already_present=already_present is True)
    reasons = [reason, *_details(counts)]
    if already_present:
        reasons.append("The base image held the fix before it was installed.")
    if effect:
        reasons.append("The fix was in effect on the VM that was tested.")
    elif effect is None and not already_present:
        reasons.append("Nothing on the VM that was tested can show whether the fix was in effect there.")
    if test_signed:
        signing = "" if effect is False else ", the patched one with test signing on"
        reasons.append(f"The fix is test-signed: both sides ran with Secure Boot off{signing}.")
    return Verdict(outcome=outcome, reasons=tuple(reasons), rows=rows, in_effect=effect)


def suites_to_repeat(cases: Iterable[E2ECase]) -> tuple[str, ...]:
    """Suites with a check that failed on this image and is not settled yet: run them again, until there are none.

    Whether the fix is in effect is none of them: a fix that is lost does not come back.
    """
    open_ends = [check for check, runs in _by_check(cases).items() if _state(runs) is CheckState.UNSETTLED]
    return tuple(dict.fromkeys(suite for suite, _ in open_ends))


def _by_check(cases: Iterable[E2ECase]) -> dict[tuple[str, str], list[E2ECase]]:
    found: dict[tuple[str, str], list[E2ECase]] = {}
    for case in cases:
        if case.suite != SUITE:
            found.setdefault((case.suite, case.name), []).append(case)
    return found


def _state(runs: Sequence[E2ECase]) -> CheckState:
    failures = sum(run.outcome == "failed" for run in runs)
    if not runs or 0 < failures == len(runs) < FAILURES_TO_SETTLE:
        return CheckState.UNSETTLED
    if failures == len(runs):
        return CheckState.FAILS
    return CheckState.FLAKY if failures else CheckState.PASSES


def _row(check: tuple[str, str], baseline: Sequence[E2ECase], patched: Sequence[E2ECase]) -> VerdictRow:
    before, after = _side(baseline), _side(patched)
    return VerdictRow(suite=check[0], name=check[1], baseline=before, patched=after, change=_change(before.state, after.state))


def _side(runs: Sequence[E2ECase]) -> SideResult:
    return SideResult(
        state=_state(runs),
        runs=len(runs),
        failures=sum(run.outcome == "failed" for run in runs),
        seconds=round(sum(run.seconds for run in runs) / len(runs), 3) if runs else 0.0,
    )


_CHANGES: Final = {
    (CheckState.PASSES, CheckState.PASSES): Change.SAME,
    (CheckState.PASSES, CheckState.FAILS): Change.REGRESSION,
    (CheckState.PASSES, CheckState.FLAKY): Change.FLAKY,
    (CheckState.FAILS, CheckState.PASSES): Change.FIXED,
    (CheckState.FAILS, CheckState.FAILS): Change.STILL_FAILS,
    (CheckState.FLAKY, CheckState.PASSES): Change.FLAKY,
    (CheckState.FLAKY, CheckState.FLAKY): Change.FLAKY,
}


def _change(baseline: CheckState, patched: CheckState) -> Change:
    return _CHANGES.get((baseline, patched), Change.UNCLEAR)


def _outcome(counts: Counter[Change], lost: str, *, already_present: bool) -> tuple[Outcome, str]:
    regressions, fixed, unclear = (_checks(counts[change]) for change in (Change.REGRESSION, Change.FIXED, Change.UNCLEAR))
    differs = "The images differ, although the base held the fix before: something else is different, too."
    lines: tuple[tuple[bool, Outcome, str], ...] = (
        (bool(lost), Outcome.INCONCLUSIVE, f"The fix was not in effect on the VM that was tested: {lost}."),
        (counts[Change.REGRESSION] > 0 and already_present, Outcome.INCONCLUSIVE, differs),
        (
            counts[Change.REGRESSION] > 0,
            Outcome.REGRESSION,
            f"{regressions} passed without the fix and failed every time with it.",
        ),
        (not counts, Outcome.INCONCLUSIVE, "No check was run."),
        (counts[Change.UNCLEAR] > 0, Outcome.INCONCLUSIVE, f"{unclear} can not be told one way or the other."),
        (counts[Change.FIXED] > 0 and already_present, Outcome.INCONCLUSIVE, differs),
        (counts[Change.FIXED] > 0, Outcome.FIXED, f"{fixed} failed every time without the fix and passed with it."),
        (already_present, Outcome.NO_EFFECT, "The fix changed nothing: the base is the same as the patched image."),
        (
            counts[Change.STILL_FAILS] > 0,
            Outcome.NO_EFFECT,
            f"{_checks(counts[Change.STILL_FAILS])} failed every time without the fix and with it.",
        ),
        (True, Outcome.INCONCLUSIVE, "No check failed reliably without the fix: these suites do not show what it is to cure."),
    )
    return next((outcome, reason) for holds, outcome, reason in lines if holds)


def _details(counts: Counter[Change]) -> Iterator[str]:
    if counts[Change.REGRESSION] and counts[Change.FIXED]:
        yield f"{_checks(counts[Change.FIXED])} failed without the fix and passed with it."
    if counts[Change.STILL_FAILS] and (counts[Change.FIXED] or counts[Change.REGRESSION]):
        yield f"{_checks(counts[Change.STILL_FAILS])} failed on both sides."
    if counts[Change.FLAKY]:
        yield f"{_checks(counts[Change.FLAKY])} passed and failed on the same image: flaky, and no evidence."


def _checks(count: int) -> str:
    return f"{count} check" if count == 1 else f"{count} checks"


def verdict_table(verdict: Verdict) -> list[dict[str, str | float]]:
    """Check × baseline × patched with mean seconds, those that differ first, for everybody's eyes: no message, version, file or path."""
    numbers: Counter[str] = Counter()
    table: list[dict[str, str | float]] = []
    for row in verdict.rows:
        numbers[row.suite] += 1
        table.append(
            {
                "change": row.change.value,
                "suite": row.suite,
                "check": row.name if _SPEAKING_NAME.fullmatch(row.name) else f"check {numbers[row.suite]}",
                "baseline": str(row.baseline),
                "patched": str(row.patched),
                "baseline_seconds": row.baseline.seconds,
                "patched_seconds": row.patched.seconds,
            }
        )
    # A page of the UI shows ten rows, and most checks have nothing to tell.
    return sorted(table, key=lambda row: row["change"] == Change.SAME)


def verdict_text(verdict: Verdict, fix: PrivateFix) -> str:
    """The verdict in Markdown, for everybody's eyes: what it is, why, and how many checks it rests on."""
    counted = ", ".join(f"{count} {change.value}" for change, count in sorted(verdict.counts.items())) or "none"
    lines = [f"# {str(fix).capitalize()}: {verdict.outcome}", "", *verdict.reasons, "", f"Checks: {counted}."]
    return "\n".join(lines) + "\n"
