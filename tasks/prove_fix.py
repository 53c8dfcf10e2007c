"""Proves on the VM that is tested that a private fix is in effect there, not only where it was installed."""

from __future__ import annotations

from images.definition import ImageDefinition
from images.e2e import E2ECase
from images.fix_in_effect import fix_cases, lost_switches
from images.private_fix import FixKind, PrivateFix
from images.stages.finish import GET_INVENTORY, InventoryResult
from images.stages.fix import TEST_FIX, FixTestInput, FixTestResult
from images.steps.finish import inventory_input
from infra.guest.link import GuestLink
from tasks.build import Build
from tasks.run_stage import run_stage


def prove_fix(build: Build, link: GuestLink, definition: ImageDefinition, fix: PrivateFix | None) -> list[E2ECase]:
    """The checks of images.fix_in_effect; none without a fix. Of an .exe only the values that switch it on can be checked.

    The guest knows what to look at from the record in its image, which a build that resumes after the layer of the fix has as well.
    Raises StageError and GuestLinkError.
    """
    cases: list[E2ECase] = []
    if fix is None:
        return cases
    if fix.kind is not FixKind.EXE:
        cases += fix_cases(fix, run_stage(build, link, TEST_FIX, FixTestInput(sha256=fix.sha256), FixTestResult))
    if fix.registry:
        looked_at = inventory_input(definition, fix)
        cases += lost_switches(fix, run_stage(build, link, GET_INVENTORY, looked_at, InventoryResult, attempt="private fix").inventory)
    return cases
