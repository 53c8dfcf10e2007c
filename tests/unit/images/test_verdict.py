"""One verdict from two images' checks: the decision table, flakes told from regressions, and a text that gives nothing away."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from images.e2e import E2ECase
from images.fix_in_effect import SUITE
from images.private_fix import FixKind, PrivateFix
from images.verdict import Change, Outcome, judge_fix, suites_to_repeat, verdict_table, verdict_text

FIX = PrivateFix(sha256="3f0c9a1b22d4" + "0" * 52, kind=FixKind.MSU, block="the-block")
PASS, FAIL = "p", "f"


def runs(outcomes: str, name: str = "a network is made", suite: str = "networking") -> list[E2ECase]:
    """One case for each letter: p passed, f failed."""
    return [
        E2ECase(
            suite=suite, name=name, outcome="passed" if letter == PASS else "failed", seconds=2.0, message="" if letter == PASS else "why"
        )
        for letter in outcomes
    ]


@pytest.mark.parametrize(
    ("baseline", "patched", "change"),
    [
        ("p", "p", Change.SAME),
        ("p", "ff", Change.REGRESSION),
        ("p", "fp", Change.FLAKY),
        ("p", "f", Change.UNCLEAR),
        ("p", "", Change.UNCLEAR),
        ("ff", "p", Change.FIXED),
        ("ff", "ff", Change.STILL_FAILS),
        ("ff", "fp", Change.UNCLEAR),
        ("fff", "f", Change.UNCLEAR),
        ("fp", "p", Change.FLAKY),
        ("fp", "ff", Change.UNCLEAR),
        ("pf", "fp", Change.FLAKY),
        ("f", "p", Change.UNCLEAR),
        ("", "p", Change.UNCLEAR),
    ],
)
def test_what_becomes_of_a_check(baseline: str, patched: str, change: Change) -> None:
    (row,) = judge_fix(runs(baseline), runs(patched)).rows
    assert row.change is change


@pytest.mark.parametrize(
    ("baseline", "patched", "outcome"),
    [
        ({"A": "ff", "B": "p"}, {"A": "p", "B": "p"}, Outcome.FIXED),
        ({"A": "ff", "B": "p"}, {"A": "ff", "B": "p"}, Outcome.NO_EFFECT),
        ({"A": "ff", "B": "p"}, {"A": "p", "B": "ff"}, Outcome.REGRESSION),
        ({"A": "ff", "B": "p"}, {"A": "p", "B": "f"}, Outcome.INCONCLUSIVE),
        ({"A": "ff", "B": "p"}, {"A": "p", "B": "fp"}, Outcome.FIXED),
        ({"A": "ff", "B": "ff"}, {"A": "p", "B": "ff"}, Outcome.FIXED),
        ({"A": "p"}, {"A": "p"}, Outcome.INCONCLUSIVE),
        ({"A": "fp"}, {"A": "p"}, Outcome.INCONCLUSIVE),
        ({"A": "ff", "B": "f"}, {"A": "p", "B": "ff"}, Outcome.INCONCLUSIVE),
        ({}, {}, Outcome.INCONCLUSIVE),
    ],
)
def test_the_verdict_rests_on_what_fails_reliably(baseline: dict[str, str], patched: dict[str, str], outcome: Outcome) -> None:
    sides = [[case for name, letters in side.items() for case in runs(letters, name)] for side in (baseline, patched)]
    verdict = judge_fix(*sides)
    assert verdict.outcome is outcome
    assert verdict.reasons


@pytest.mark.parametrize(
    ("baseline", "patched", "outcome"),
    [
        ("ff", "ff", Outcome.NO_EFFECT),
        ("p", "p", Outcome.NO_EFFECT),
        ("ff", "p", Outcome.INCONCLUSIVE),
        ("p", "ff", Outcome.INCONCLUSIVE),
        ("p", "f", Outcome.INCONCLUSIVE),
    ],
)
def test_a_fix_that_the_base_held_can_have_no_effect(baseline: str, patched: str, outcome: Outcome) -> None:
    verdict = judge_fix(runs(baseline), runs(patched), already_present=True)
    assert verdict.outcome is outcome
    assert "The base image held the fix before it was installed." in verdict.reasons


def test_a_regression_beside_a_fixed_check_names_both() -> None:
    verdict = judge_fix([*runs("ff", "A"), *runs("p", "B")], [*runs("p", "A"), *runs("ff", "B")])
    assert verdict.reasons[:2] == (
        "1 check passed without the fix and failed every time with it.",
        "1 check failed without the fix and passed with it.",
    )


def test_test_signing_is_said() -> None:
    assert "Secure Boot off" in judge_fix(runs("ff"), runs("p"), test_signed=True).reasons[-1]
    assert "Secure Boot" not in " ".join(judge_fix(runs("ff"), runs("p")).reasons)


PROVEN = runs("p", "test signing is on", SUITE)
LOST = runs("f", "test signing is on", SUITE)


@pytest.mark.parametrize(
    ("baseline", "patched", "already_present"),
    [("p", "ff", False), ("ff", "ff", False), ("ff", "p", False), ("p", "p", False), ("ff", "ff", True), ("", "", False)],
    ids=["regression", "no effect", "fixed", "nothing to cure", "contained", "no check"],
)
def test_a_fix_that_was_not_in_effect_where_it_was_tested_has_no_verdict(baseline: str, patched: str, already_present: bool) -> None:
    verdict = judge_fix(runs(baseline), [*runs(patched), *PROVEN, *LOST], already_present=already_present, test_signed=True)
    assert (verdict.outcome, verdict.in_effect) == (Outcome.INCONCLUSIVE, False)
    assert verdict.reasons[0] == "The fix was not in effect on the VM that was tested: why."
    # Nobody knows of it here.
    assert "test signing on" not in " ".join(verdict.reasons)


@pytest.mark.parametrize(
    ("proof", "already_present", "effect", "words"),
    [
        (PROVEN, False, True, "The fix was in effect on the VM that was tested."),
        ([], False, None, "Nothing on the VM that was tested can show whether the fix was in effect there."),
        (PROVEN, True, True, "The fix was in effect on the VM that was tested."),
        ([], True, None, "The base image held the fix before it was installed."),
    ],
)
def test_every_verdict_says_whether_the_fix_was_in_effect(
    proof: list[E2ECase], already_present: bool, effect: bool | None, words: str
) -> None:
    verdict = judge_fix(runs("ff"), [*runs("ff"), *proof], already_present=already_present)
    assert (verdict.outcome, verdict.in_effect) == (Outcome.NO_EFFECT, effect)
    assert verdict.reasons[-1] == words


def test_the_proof_of_the_fix_is_no_check_that_is_compared_or_run_again() -> None:
    verdict = judge_fix(runs("ff"), [*runs("p"), *PROVEN])
    assert [row.suite for row in verdict.rows] == ["networking"]
    assert verdict.outcome is Outcome.FIXED
    assert suites_to_repeat([*runs("p"), *LOST]) == ()


def test_only_suites_with_an_unsettled_failure_are_repeated() -> None:
    cases = [
        *runs("f", suite="networking"),
        *runs("p", suite="first-boot"),
        *runs("ff", suite="node-bootstrap"),
        *runs("fp", suite="other"),
    ]
    assert suites_to_repeat(cases) == ("networking",)
    assert suites_to_repeat([*cases, *runs("f", suite="networking")]) == ()


def test_the_table_has_mean_seconds_and_no_version_file_or_message() -> None:
    names = ["1.34.9 v1.34.9-1int.zip", r"C:\Windows\System32\x.dll is there", "names resolve"]
    verdict = judge_fix([case for name in names for case in runs("ff", name)], [case for name in names for case in runs("p", name)])
    table = verdict_table(verdict)
    assert [row["check"] for row in table] == ["check 1", "check 2", "names resolve"]
    assert table[2] == {
        "suite": "networking",
        "check": "names resolve",
        "baseline": "fails (2 of 2 failed)",
        "baseline_seconds": 2.0,
        "patched": "passes",
        "patched_seconds": 2.0,
        "change": "fixed",
    }
    assert "why" not in str(table)


def test_the_table_begins_with_the_checks_that_differ() -> None:
    baseline = [*runs("p", "names resolve"), *runs("ff", "an endpoint is made"), *runs("p", "a network is made")]
    patched = [*runs("p", "names resolve"), *runs("p", "an endpoint is made"), *runs("ff", "a network is made")]
    table = verdict_table(judge_fix(baseline, patched))
    assert [(row["change"], row["check"]) for row in table] == [
        ("fixed", "an endpoint is made"),
        ("regression", "a network is made"),
        ("same", "names resolve"),
    ]
    assert list(table[0])[:3] == ["change", "suite", "check"]


def test_the_text_names_the_fix_by_its_hash_alone() -> None:
    text = verdict_text(judge_fix(runs("ff"), runs("p")), FIX)
    assert text.startswith("# Private fix 3f0c9a1b22d4: fixed\n")
    assert "Checks: 1 fixed." in text
    assert "the-block" not in text


LETTERS = st.text(alphabet=PASS + FAIL, max_size=4)
SIDES = st.dictionaries(st.sampled_from("ABCDE"), LETTERS, max_size=5)


def cases_of(side: dict[str, str]) -> list[E2ECase]:
    return [case for name, letters in side.items() for case in runs(letters, name)]


@given(SIDES, SIDES)
def test_every_check_is_in_one_row_and_every_verdict_has_a_reason(baseline: dict[str, str], patched: dict[str, str]) -> None:
    verdict = judge_fix(cases_of(baseline), cases_of(patched))
    ran = {name for side in (baseline, patched) for name, letters in side.items() if letters}
    assert {row.name for row in verdict.rows} == ran
    assert len(verdict.rows) == len(ran) == sum(verdict.counts.values())
    assert verdict.reasons[0]


@given(SIDES)
def test_an_image_beside_itself_is_never_fixed_and_never_a_regression(side: dict[str, str]) -> None:
    assert judge_fix(cases_of(side), cases_of(side)).outcome in (Outcome.NO_EFFECT, Outcome.INCONCLUSIVE)


@given(SIDES, SIDES)
def test_exchanging_the_sides_exchanges_fixed_and_regression(baseline: dict[str, str], patched: dict[str, str]) -> None:
    there, back = judge_fix(cases_of(baseline), cases_of(patched)).counts, judge_fix(cases_of(patched), cases_of(baseline)).counts
    assert there.get(Change.FIXED, 0) == back.get(Change.REGRESSION, 0)


@given(SIDES, SIDES, st.randoms())
def test_the_order_of_the_runs_does_not_matter(baseline: dict[str, str], patched: dict[str, str], random: Random) -> None:
    shuffled = cases_of(baseline)
    random.shuffle(shuffled)
    assert judge_fix(shuffled, cases_of(patched)).counts == judge_fix(cases_of(baseline), cases_of(patched)).counts


@given(SIDES, SIDES)
def test_fixed_needs_a_check_that_never_passed_before_and_a_regression_one_that_never_failed(
    baseline: dict[str, str], patched: dict[str, str]
) -> None:
    outcome = judge_fix(cases_of(baseline), cases_of(patched)).outcome

    def from_one_to_the_other(before: dict[str, str], after: dict[str, str]) -> list[str]:
        failing = [name for name, letters in before.items() if len(letters) > 1 and PASS not in letters]
        return [name for name in failing if set(after.get(name, "")) == {PASS}]

    cured, broken = from_one_to_the_other(baseline, patched), from_one_to_the_other(patched, baseline)
    assert (outcome is Outcome.REGRESSION) == bool(broken)
    if outcome is Outcome.FIXED:
        assert cured
