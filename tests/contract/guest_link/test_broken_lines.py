"""Connections that break in any phase, quotas, restarts in mid-stage: nothing is lost, and what runs elevated runs once."""

from __future__ import annotations

import threading
import time
from typing import Any, Literal

import pytest

from images.errors import StageError
from images.stages.contract import NoInput
from images.stages.finish import CLEAR_LEFTOVERS, TEST_FREE_SPACE, FreeSpaceResult
from infra.guest.faults import GuestSilentError
from infra.guest.link import GuestLink
from infra.guest.package import ScriptPackage
from infra.local.guest.process import GuestProcess
from infra.local.guest.wsman import faults
from infra.local.guest.wsman.faults import WsmanFault
from tests.contract.guest_link.conftest import MakeLink
from tests.contract.guest_link.random_schedule import run_schedule
from tests.contract.guest_link.scripted_guest import Fault, ScriptedGuest, say
from tests.contract.guest_link.test_stages import SPACE, clear_leftovers, free_space

ACTIONS = ("Create", "Command", "Send", "Receive", "Signal")
PASSED_BY_UPLOAD = {"Create": 0, "Command": 1, "Send": 1, "Receive": 1, "Signal": 1}
"""How many requests of each kind come before the stage's own; the shell is made for the scripts' upload."""


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("kind", ["before", "after"])
def test_direct_stage_survives_a_connection_lost_in_any_phase(
    guest: ScriptedGuest, link: GuestLink, action: str, kind: Literal["before", "after"]
) -> None:
    guest.scripts[TEST_FREE_SPACE.script] = free_space
    guest.faults.append(Fault(action, kind, skip=PASSED_BY_UPLOAD[action]))
    assert link.run_stage(TEST_FREE_SPACE, SPACE, run_id="a") == FreeSpaceResult(changed=False, free_bytes=10)
    assert guest.faults == []


@pytest.mark.parametrize("skip", range(3))
@pytest.mark.parametrize("action", ACTIONS[1:])
@pytest.mark.parametrize("kind", ["before", "after"])
def test_elevated_stage_runs_once_whatever_phase_breaks(
    guest: ScriptedGuest, link: GuestLink, action: str, skip: int, kind: Literal["before", "after"]
) -> None:
    link.upload_scripts()
    guest.scripts[CLEAR_LEFTOVERS.script] = clear_leftovers
    guest.faults.append(Fault(action, kind, skip))
    assert link.run_stage(CLEAR_LEFTOVERS, NoInput(), run_id="a").changed
    assert guest.faults == []
    assert guest.starts.count("Clear-BuildLeftover.ps1 (SYSTEM)") == 1


def test_lost_direct_script_is_ended_before_it_is_started_again(guest: ScriptedGuest, link: GuestLink) -> None:
    running, most = 0, 0
    lock = threading.Lock()

    def counted(process: GuestProcess, stage_input: dict[str, Any]) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        process.stop_event.wait(0.3)
        with lock:
            running -= 1
        return free_space(process, stage_input)

    link.upload_scripts()
    guest.scripts[TEST_FREE_SPACE.script] = counted
    guest.faults.append(Fault("Receive", "before"))
    link.run_stage(TEST_FREE_SPACE, SPACE, run_id="a")
    assert guest.starts == ["Test-FreeSpace.ps1"] * 2
    assert guest.requests.count("Delete") == 1
    assert most <= 2  # the first one may need a moment to hear that it was killed


@pytest.mark.parametrize(
    "fault",
    [
        WsmanFault(2150859174, "Receiver", "w:QuotaLimit", "maximum number of concurrent operations for this user"),
        faults.quota_shells(30),
        # Win32 ERROR_NOT_ENOUGH_MEMORY: the shell's job is at its limit, MaxMemoryPerShellMB.
        WsmanFault(8, "Receiver", "w:InternalError", "Not enough memory resources are available to process this command."),
        faults.shell_not_found("x"),
        faults.aborted(),
    ],
    ids=["operations", "shells", "memory", "shell-gone", "winrm-stops"],
)
@pytest.mark.parametrize("action", ["Create", "Command", "Receive"])
def test_fault_of_the_service_is_answered_with_a_new_shell(guest: ScriptedGuest, link: GuestLink, action: str, fault: WsmanFault) -> None:
    guest.scripts[TEST_FREE_SPACE.script] = free_space
    guest.faults.append(Fault(action, fault, skip=PASSED_BY_UPLOAD[action]))
    link.run_stage(TEST_FREE_SPACE, SPACE, run_id="a")
    assert guest.faults == []
    assert link.traffic.reconnects >= 1


def test_guest_that_restarts_by_itself_in_mid_stage_gets_the_elevated_stage_again(guest: ScriptedGuest, link: GuestLink) -> None:
    attempts = 0

    def first_one_is_cut(process: GuestProcess, stage_input: dict[str, Any]) -> int:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            threading.Timer(0.2, guest.reboot).start()
            say(process, event="progress", message="before the restart")
            process.stop_event.wait(1)
            return 1
        return clear_leftovers(process, stage_input)

    guest.scripts[CLEAR_LEFTOVERS.script] = first_one_is_cut
    messages: list[str] = []
    result = link.run_stage(CLEAR_LEFTOVERS, NoInput(), run_id="a", on_progress=lambda progress: messages.append(progress.message))
    assert result.changed
    assert messages == ["before the restart", "half"]


def test_task_whose_start_broke_off_before_it_got_its_input_is_started_under_a_new_name(guest: ScriptedGuest, link: GuestLink) -> None:
    link.upload_scripts()
    guest.scripts[CLEAR_LEFTOVERS.script] = clear_leftovers
    guest.half_starts = 1
    guest.faults.append(Fault("Receive", "before"))
    assert link.run_stage(CLEAR_LEFTOVERS, NoInput(), run_id="a").changed
    assert guest.starts.count("Clear-BuildLeftover.ps1 (SYSTEM)") == 1
    assert guest.read_files == ["a", "a-2"]


def test_task_that_is_lost_again_and_again_is_given_up(guest: ScriptedGuest, make_link: MakeLink) -> None:
    link = make_link(task_starts=2)
    link.upload_scripts()
    guest.half_starts = 2
    guest.faults.extend(Fault("Receive", "before", skip=skip) for skip in (0, 3))
    with pytest.raises(StageError, match="lost the run 2 times") as caught:
        link.run_stage(CLEAR_LEFTOVERS, NoInput(), run_id="a")
    assert caught.value.stderr_tail == "the pipe was closed"


def test_guest_that_never_answers_again_is_named_with_the_time_waited(guest: ScriptedGuest, make_link: MakeLink) -> None:
    link = make_link(reconnect_s=0.5)
    link.upload_scripts()
    guest.down()
    started = time.monotonic()
    with pytest.raises(GuestSilentError, match=r"no contact for [01] s: the connection to the guest failed"):
        link.state()
    assert time.monotonic() - started < 4


def test_connection_that_breaks_every_time_is_given_up(guest: ScriptedGuest, link: GuestLink) -> None:
    link.upload_scripts()
    guest.scripts[TEST_FREE_SPACE.script] = free_space
    guest.faults.extend(Fault("Receive", "after") for _ in range(3))
    with pytest.raises(GuestSilentError, match="lost 3 times"):
        link.run_stage(TEST_FREE_SPACE, SPACE, run_id="a")


@pytest.mark.parametrize("seed", range(16))
def test_random_schedules_of_faults_lose_nothing(guest: ScriptedGuest, package: ScriptPackage, seed: int) -> None:
    assert run_schedule(guest, package, seed) > 0
