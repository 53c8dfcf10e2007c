"""Whether a private fix was in effect where it was tested: by counts alone, and only what its kind lets anybody check."""

from __future__ import annotations

from typing import Any

import pytest

from images.definition import RegistrySetting
from images.fix_in_effect import SUITE, fix_cases, in_effect, lost_switches, what_was_lost
from images.inventory import RegistryValue
from images.private_fix import FixKind, PrivateFix
from images.stages.fix import FixTestResult
from tests.unit.images.notes.parts import small_inventory
from tests.unit.images.test_verdict import runs


def found(**changes: Any) -> FixTestResult:
    """A look at an image on which nothing was lost."""
    whole = {"files": 4, "files_in_place": 4, "packages": 2, "packages_installed": 2, "test_signing": True}
    return FixTestResult.model_validate({"changed": False, "recorded": True, **whole, **changes})


def fix(kind: FixKind) -> PrivateFix:
    return PrivateFix(sha256="3f" * 32, kind=kind, block="the-block")


@pytest.mark.parametrize(
    ("kind", "changes", "lost"),
    [
        (FixKind.ZIP, {}, ""),
        (FixKind.ZIP, {"files_in_place": 1}, "3 of 4 replaced files are not in place"),
        (FixKind.ZIP, {"files_in_place": 3}, "1 of 4 replaced files is not in place"),
        (FixKind.ZIP, {"test_signing": False}, "Windows started without test signing"),
        (
            FixKind.ZIP,
            {"files_in_place": 0, "test_signing": False},
            "4 of 4 replaced files are not in place; Windows started without test signing",
        ),
        (FixKind.ZIP, {"packages_installed": 0}, ""),
        (FixKind.MSU, {}, ""),
        (FixKind.MSU, {"packages_installed": 1}, "1 of 2 servicing packages is not installed any more"),
        (FixKind.CAB, {"packages_installed": 0}, "2 of 2 servicing packages are not installed any more"),
        (FixKind.CAB, {"files_in_place": 0, "test_signing": False}, ""),
        (FixKind.ZIP, {"recorded": False, "files": 0, "files_in_place": 0}, "the image does not say any more what the fix changed"),
        (FixKind.MSU, {"recorded": False, "packages": 0}, "the image does not say any more what the fix changed"),
    ],
)
def test_what_is_lost_is_told_by_counts(kind: FixKind, changes: dict[str, Any], lost: str) -> None:
    cases = fix_cases(fix(kind), found(**changes))
    assert {case.suite for case in cases} == {SUITE}
    assert in_effect(cases) is (lost == "")
    assert what_was_lost(cases) == lost


@pytest.mark.parametrize(
    ("kind", "changes"),
    [(FixKind.EXE, {}), (FixKind.EXE, {"recorded": False}), (FixKind.MSU, {"packages": 0, "packages_installed": 0})],
    ids=["an exe", "an exe without a record", "a package that Windows held before"],
)
def test_where_nothing_can_be_checked_nothing_is_claimed(kind: FixKind, changes: dict[str, Any]) -> None:
    cases = fix_cases(fix(kind), found(**changes))
    assert (cases, in_effect(cases)) == ([], None)


def test_a_switch_that_is_set_proves_nothing_and_one_that_is_lost_does() -> None:
    settings = tuple(RegistrySetting(path=r"HKLM:\SOFTWARE\Fix", name=name, value=1) for name in ("On", "Level"))
    switched = fix(FixKind.EXE).model_copy(update={"registry": settings})
    values = [RegistryValue(path=r"HKLM:\SOFTWARE\Fix", name=name, type="REG_DWORD", value=1) for name in ("on", "level")]
    there = small_inventory(registry=tuple(values))
    assert lost_switches(switched, there) == []
    cases = lost_switches(switched, small_inventory(registry=tuple(values[:1])))
    assert in_effect(cases) is False
    assert what_was_lost(cases) == "1 of 2 registry values that switch it on is not set any more"


def test_checks_of_other_suites_prove_nothing() -> None:
    assert in_effect(runs("pf")) is None
    assert what_was_lost(runs("f")) == ""
