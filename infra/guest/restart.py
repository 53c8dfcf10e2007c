"""Restarts a guest and waits for it: a new boot, not just an open port, and services that have come to rest."""

from __future__ import annotations

import time
from collections.abc import Callable

from images.errors import GuestLinkError, StageError
from images.stages.contract import NoInput
from images.stages.system import GET_GUEST_STATE, RESTART_GUEST, GuestStateResult, RestartResult
from infra.guest.deadline import Deadline
from infra.guest.faults import LinkLostError, LinkRefusedError, PasswordRefusedError
from infra.guest.runner import ScriptRunner

STABLE_LOOKS = 2
"""As many looks in a row must find no automatic service starting: the first may come before they began to."""

_NO_NEW_BOOT = "did not come back with a new boot"


def guest_state(runner: ScriptRunner) -> GuestStateResult:
    """The guest's state now; raises GuestSilentError, LinkRefusedError, StageError."""
    return runner.ask(GET_GUEST_STATE, NoInput(), GuestStateResult)


def restart_guest(runner: ScriptRunner) -> GuestStateResult:
    """The state after a restart; raises GuestLinkError when no new boot answers within the limits."""
    is_new = _boot_after(runner)
    request = _RestartRequest(runner)

    def accept(now: GuestStateResult) -> bool:
        if is_new(now):
            return True
        request.repeat_when_due()
        return False

    return wait_until_ready(runner, accept, _NO_NEW_BOOT)


def reboot_around(runner: ScriptRunner, while_off: Callable[[], None]) -> GuestStateResult:
    """The state after the machine was stopped and started from outside, which `while_off` does; raises what that raises.

    GuestLinkError when no new boot answers within the limits.
    """
    is_new = _boot_after(runner)
    while_off()
    return wait_until_ready(runner, is_new, _NO_NEW_BOOT)


def _boot_after(runner: ScriptRunner) -> Callable[[GuestStateResult], bool]:
    """Tells a later boot from the one that runs now."""
    before = guest_state(runner)
    # Windows computes the boot time from a clock that is set right after boot, so it may move by itself. A shell does not survive a
    # restart: both must be new.
    old_shell = runner.connection.shell_id
    return lambda now: now.boot_time != before.boot_time and runner.connection.shell_id != old_shell


def wait_until_ready(
    runner: ScriptRunner, accept: Callable[[GuestStateResult], bool] = lambda _now: True, failure: str = "did not become ready"
) -> GuestStateResult:
    """The state once the guest answers, `accept` says yes and its services are at rest; raises GuestLinkError after limits.restart_s."""
    limits = runner.limits
    deadline, stable, last = Deadline(limits.restart_s), 0, "it answered, but its services kept starting"
    refused: Deadline | None = None
    while not deadline.over:
        try:
            now = runner.once(GET_GUEST_STATE, NoInput(), GuestStateResult)
        except LinkRefusedError as error:
            # Windows refuses its own accounts while it starts; for longer than a moment it means it.
            refused = refused or Deadline(limits.refused_s)
            stable, last = 0, error.what
            if refused.over:
                if not (isinstance(error, PasswordRefusedError) and runner.renew_password()):
                    raise
                refused = None
        except (LinkLostError, StageError) as error:
            # StageError: WMI and others that the script asks are not up yet.
            stable, last, refused = 0, error.what, None
        else:
            refused = None
            if not accept(now):
                stable, last = 0, f"it still runs the boot of {now.boot_time}"
            elif now.services_stable:
                stable += 1
                if stable >= STABLE_LOOKS:
                    return now
            else:
                stable, last = 0, "it answered, but its services kept starting"
        time.sleep(limits.ready_pause_s)
    raise GuestLinkError(
        f"the guest {failure} within {deadline.seconds:g} s; at last: {last}",
        where=runner.connection.where,
        hint="look at the VM's boot diagnostics; the last checkpoint is not touched",
    )


class _RestartRequest:
    """Asks for the restart, and again when the guest plainly did not hear."""

    def __init__(self, runner: ScriptRunner) -> None:
        self._runner = runner
        self._due = self._ask()

    def repeat_when_due(self) -> None:
        """Called while the guest still runs the old boot."""
        if self._due.over:
            self._due = self._ask()

    def _ask(self) -> Deadline:
        limits = self._runner.limits
        try:
            self._runner.once(RESTART_GUEST, NoInput(), RestartResult)
        except LinkLostError:
            # It may have gone down before it could answer, or never have heard: look soon.
            return Deadline(min(limits.restart_again_s, 4 * limits.ready_pause_s + 5))
        return Deadline(limits.restart_again_s)
