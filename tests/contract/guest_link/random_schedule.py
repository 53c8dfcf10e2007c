"""One random schedule of faults against a scripted guest: what the suite runs for a few seeds, and the benchmark for hundreds."""

from __future__ import annotations

import random
import threading
from typing import Any

from images.stages.contract import NoInput
from images.stages.finish import CLEAR_LEFTOVERS, TEST_FREE_SPACE, FreeSpaceInput, FreeSpaceResult
from infra.guest.link import GuestLink
from infra.guest.package import ScriptPackage
from infra.local.guest.process import GuestProcess
from infra.local.guest.wsman import faults
from infra.local.guest.wsman.faults import WsmanFault
from tests.contract.guest_link.build_guest import HURRIED
from tests.contract.guest_link.scripted_guest import Fault, ScriptedGuest, say

ACTIONS = ("Create", "Command", "Send", "Receive", "Signal", "Delete")
STAGES = 3
FAULTS = 8


def run_schedule(guest: ScriptedGuest, package: ScriptPackage, seed: int) -> int:
    """Run elevated and direct stages while faults strike; how many struck. AssertionError for a lost, wrong or double run.

    Faults: requests that never arrive, answers that get lost, faults of the service (quotas, a shell that is gone, a service that stops,
    w:TimedOut), restarts of the WinRM service, and in every fourth schedule a restart of the guest in the middle of an elevated stage.
    """
    chance = random.Random(seed)
    kinds: tuple[Any, ...] = (
        "before",
        "after",
        "before",
        "after",
        faults.aborted(),
        faults.shell_not_found("x"),
        faults.quota_shells(30),
        WsmanFault(2150859174, "Receiver", "w:QuotaLimit", "maximum number of concurrent operations for this user"),
        faults.timed_out(),
    )
    guest.faults.extend(Fault(chance.choice(ACTIONS), chance.choice(kinds), skip=chance.randrange(8)) for _ in range(FAULTS))
    finished: list[str] = []
    reboots = chance.random() < 0.25
    restarts_winrm = chance.random() < 0.25

    def clear(process: GuestProcess, _stage_input: dict[str, Any]) -> int:
        nonlocal reboots, restarts_winrm
        say(process, event="progress", message="half", done=1, total=2)
        if reboots:
            reboots = False
            threading.Timer(0.02, guest.reboot).start()
            process.stop_event.wait(0.5)
            return 1
        if restarts_winrm:
            restarts_winrm = False
            threading.Timer(0.01, guest.restart_winrm).start()
            process.stop_event.wait(0.05)
        finished.append("clear")
        return say(process, event="result", changed=True, removed=["C:\\x"], free_bytes=5)

    def free_space(process: GuestProcess, _stage_input: dict[str, Any]) -> int:
        return say(process, event="result", changed=False, free_bytes=10)

    guest.scripts[CLEAR_LEFTOVERS.script] = clear
    guest.scripts[TEST_FREE_SPACE.script] = free_space
    limits = HURRIED.model_copy(update={"direct_attempts": FAULTS + 3, "reconnect_pause_s": 0.005, "reconnect_s": 10.0})
    with GuestLink(guest.endpoint, limits=limits, package=package) as link:
        for number in range(STAGES):
            assert link.run_stage(CLEAR_LEFTOVERS, NoInput(), run_id=f"e{number}").changed
            direct = link.run_stage(TEST_FREE_SPACE, FreeSpaceInput(minimum_free_bytes=1), run_id=f"d{number}")
            assert direct == FreeSpaceResult(changed=False, free_bytes=10)
    assert finished == ["clear"] * STAGES, finished
    return FAULTS - len(guest.faults)
