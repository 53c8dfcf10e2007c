"""The `fix` layer: a private fix on top of everything that public builds share, and the mark that shows where it went."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from images.catalogue import DISM_ONLY_BUILDS
from images.fingerprint import FIX_SCHEME
from images.privacy import is_private_scope, private_mark_setting
from images.private_fix import FixKind, PrivateFix
from images.stages.fix import CONFIRM_FIX, INSTALL_FIX, ConfirmFixInput, InstallFixInput
from images.stages.system import SET_REGISTRY, RegistryInput
from images.steps.step import Step


def fix_steps(fix: PrivateFix, windows_build: int, scope: str) -> Iterator[Step]:
    """The steps of the `fix` layer, in order: marked before anything private is on the disk, and checked after the restart.

    The update stage of public builds does not fit: it goes by KB number, file name and size, and a private fix shows none of them.
    """
    yield from mark_steps(scope)
    install = InstallFixInput(
        kind=fix.kind,
        url=f"{FIX_SCHEME}{fix.block}",
        sha256=fix.sha256,
        installer=_installer(fix.kind, windows_build),
        arguments=fix.arguments,
    )
    yield Step.of(INSTALL_FIX, install, restart_after=not fix.registry)
    yield from switch_steps(fix, restart_after=True)
    yield Step.of(CONFIRM_FIX, ConfirmFixInput(kind=fix.kind, sha256=fix.sha256))


def mark_steps(scope: str) -> Iterator[Step]:
    """The mark inside the image; nothing for public work."""
    if is_private_scope(scope):
        yield Step.of(SET_REGISTRY, RegistryInput(settings=(private_mark_setting(scope),)))


def switch_steps(fix: PrivateFix | None, *, restart_after: bool) -> Iterator[Step]:
    """The registry values that switch the fix on; without their comments, which change nothing on the image."""
    if fix is not None and fix.registry:
        settings = tuple(setting.model_copy(update={"comment": ""}) for setting in fix.registry)
        yield Step.of(SET_REGISTRY, RegistryInput(settings=settings), restart_after=restart_after)


def _installer(kind: FixKind, windows_build: int) -> Literal["wusa", "dism", "none"]:
    if kind in (FixKind.EXE, FixKind.ZIP):
        return "none"
    return "dism" if kind is FixKind.CAB or windows_build in DISM_ONLY_BUILDS else "wusa"
