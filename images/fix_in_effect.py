"""Whether a private fix was in effect on the VM that was tested: generalize and specialize came after it was installed and checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from images.agreement import compare_registry
from images.e2e import E2ECase
from images.inventory import Inventory
from images.private_fix import FixKind, PrivateFix
from images.stages.fix import FixTestResult

SUITE: Final = "private-fix"
"""The suite of these checks. Only the patched image has it, so they are not compared with the baseline: a verdict rests on them."""


def fix_cases(fix: PrivateFix, found: FixTestResult) -> list[E2ECase]:
    """The checks of a fix of this kind, whose messages hold counts alone; none of an .exe, since nobody knows what it changed.

    None either of a package that Windows held before: it brought nothing that could be lost.
    """
    if fix.kind is FixKind.EXE:
        return []
    if not found.recorded:
        return [_case("its record is in the image", "the image does not say any more what the fix changed")]
    return [_case(name, problem) for name, problem in _checks(fix, found)]


def lost_switches(fix: PrivateFix, inventory: Inventory) -> list[E2ECase]:
    """A failed check when a value that switches the fix on is not set any more; nothing otherwise, since values alone are no fix."""
    lost = len(compare_registry(fix.registry, inventory))
    problem = _lost(lost, len(fix.registry), "registry values that switch it on", "not set any more")
    return [_case("it is switched on", problem)] if lost else []


def _checks(fix: PrivateFix, found: FixTestResult) -> Iterator[tuple[str, str]]:
    if fix.kind is FixKind.ZIP:
        lost = found.files - found.files_in_place
        yield "replaced files are in place", _lost(lost, found.files, "replaced files", "not in place")
        yield "test signing is on", "" if found.test_signing else "Windows started without test signing"
    elif found.packages:
        lost = found.packages - found.packages_installed
        yield "its packages are installed", _lost(lost, found.packages, "servicing packages", "not installed any more")


def in_effect(cases: Iterable[E2ECase]) -> bool | None:
    """True when every check of the suite passed, False when one failed, None when there was nothing to check."""
    passed = [case.outcome == "passed" for case in cases if case.suite == SUITE]
    return all(passed) if passed else None


def what_was_lost(cases: Iterable[E2ECase]) -> str:
    """The messages of the failed checks of the suite, each once, in one line."""
    return "; ".join(dict.fromkeys(case.message for case in cases if case.suite == SUITE and case.outcome == "failed"))


def _lost(lost: int, total: int, things: str, state: str) -> str:
    return f"{lost} of {total} {things} {'is' if lost == 1 else 'are'} {state}" if lost else ""


def _case(name: str, problem: str) -> E2ECase:
    return E2ECase(suite=SUITE, name=name, outcome="failed" if problem else "passed", message=problem)
