"""Proves on the VM that is tested that a private fix is in effect there, not only where it was installed."""

from __future__ import annotations

from images.e2e import E2ECase
from images.fix_in_effect import fix_cases
from images.private_fix import FixKind, PrivateFix
from images.stages.fix import TEST_FIX, FixTestInput, FixTestResult
from infra.guest.link import GuestLink
from tasks.build import Build
from tasks.run_stage import run_stage


def prove_fix(build: Build, link: GuestLink, fix: PrivateFix | None) -> list[E2ECase]:
    """The checks of images.fix_in_effect; none without a fix, and none for an .exe, of which nothing can be checked.

    The guest knows what to look at from the record in its image, which a build that resumes after the layer of the fix has as well.
    Raises StageError and GuestLinkError.
    """
    if fix is None or fix.kind is FixKind.EXE:
        return []
    found = run_stage(build, link, TEST_FIX, FixTestInput(sha256=fix.sha256), FixTestResult)
    return fix_cases(fix, found)
