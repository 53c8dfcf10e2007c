"""Stages over the link: what goes in arrives, what comes out arrives while it comes, and failures keep the script's own words."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from typing import Any

import pytest

from images.errors import StageError
from images.stages.content import SAVE_FILES, SaveFileInput, SourceFile
from images.stages.contract import NoInput
from images.stages.finish import (
    CLEAR_LEFTOVERS,
    GENERALIZE,
    SET_TEXT_FILE,
    TEST_FREE_SPACE,
    ClearBuildLeftoverResult,
    FreeSpaceInput,
    FreeSpaceResult,
    GeneralizeInput,
    TextFileInput,
)
from infra.guest.connection import STDIN_CHUNK_BYTES
from infra.guest.faults import LinkRefusedError
from infra.guest.json_lines import Progress
from infra.guest.link import GuestLink
from infra.guest.package import ScriptPackage
from infra.local.guest.process import GuestProcess
from tests.contract.guest_link.conftest import MakeLink
from tests.contract.guest_link.scripted_guest import PASSWORD, ScriptedGuest, say

SPACE = FreeSpaceInput(minimum_free_bytes=5)
GENERALIZE_INPUT = GeneralizeInput(sysprep_timeout_s=60, build_account="winvhd-build", certificate_thumbprint="AB", listener_port=5986)


def free_space(process: GuestProcess, stage_input: dict[str, Any]) -> int:
    return say(process, event="result", changed=False, free_bytes=stage_input["minimum_free_bytes"] * 2)


def clear_leftovers(process: GuestProcess, _stage_input: dict[str, Any]) -> int:
    say(process, event="progress", message="half", done=1, total=2)
    return say(process, event="result", changed=True, removed=["C:\\x"], free_bytes=7)


def test_stage_runs_with_its_input_and_gives_its_typed_result(guest: ScriptedGuest, link: GuestLink, package: ScriptPackage) -> None:
    guest.scripts[TEST_FREE_SPACE.script] = free_space
    assert link.run_stage(TEST_FREE_SPACE, SPACE, run_id="a") == FreeSpaceResult(changed=False, free_bytes=10)
    assert guest.packages == [package.data]
    assert guest.starts == ["Test-FreeSpace.ps1"]


def test_scripts_travel_once_for_many_stages_and_one_shell_serves_them(guest: ScriptedGuest, link: GuestLink) -> None:
    guest.scripts[TEST_FREE_SPACE.script] = free_space
    for number in range(5):
        link.run_stage(TEST_FREE_SPACE, SPACE, run_id=f"r{number}")
    assert len(guest.packages) == 1
    assert guest.requests.count("Create") == link.traffic.shells == 1
    assert link.traffic.round_trips == len(guest.requests)
    assert link.traffic.sent_bytes > len(guest.packages[0])
    assert link.traffic.received_bytes > 0


def test_elevated_stage_runs_as_a_task_and_its_result_is_acknowledged(guest: ScriptedGuest, link: GuestLink) -> None:
    guest.scripts[CLEAR_LEFTOVERS.script] = clear_leftovers
    progress: list[Progress] = []
    result = link.run_stage(CLEAR_LEFTOVERS, NoInput(), run_id="clean-1", on_progress=progress.append)
    assert result == ClearBuildLeftoverResult(changed=True, removed=("C:\\x",), free_bytes=7)
    assert progress == [Progress(message="half", done=1, total=2)]
    assert "Clear-BuildLeftover.ps1 (SYSTEM)" in guest.starts
    assert guest.read_files == ["clean-1"]


def test_stage_that_may_take_long_runs_as_a_task(guest: ScriptedGuest, make_link: MakeLink) -> None:
    guest.scripts[TEST_FREE_SPACE.script] = free_space
    make_link(direct_s=TEST_FREE_SPACE.timeout_s - 1).run_stage(TEST_FREE_SPACE, SPACE, run_id="a")
    assert "Test-FreeSpace.ps1 (SYSTEM)" in guest.starts


def test_second_worker_follows_the_run_of_the_first(guest: ScriptedGuest, make_link: MakeLink) -> None:
    go_on = threading.Event()

    def slow(process: GuestProcess, stage_input: dict[str, Any]) -> int:
        say(process, event="progress", message="started")
        go_on.wait(10)
        return clear_leftovers(process, stage_input)

    guest.scripts[CLEAR_LEFTOVERS.script] = slow

    class WorkerDied(Exception):
        pass

    def die(_progress: Progress) -> None:
        raise WorkerDied

    with pytest.raises(WorkerDied):
        make_link().run_stage(CLEAR_LEFTOVERS, NoInput(), run_id="r", on_progress=die)
    go_on.set()
    progress: list[Progress] = []
    make_link().run_stage(CLEAR_LEFTOVERS, NoInput(), run_id="r", on_progress=progress.append)
    assert guest.starts.count("Clear-BuildLeftover.ps1 (SYSTEM)") == 1
    assert [event.message for event in progress] == ["started", "half"]


@pytest.mark.parametrize("elevated", [False, True])
def test_progress_arrives_while_the_stage_works(guest: ScriptedGuest, link: GuestLink, elevated: bool) -> None:
    seen = threading.Event()

    def waits_for_its_reader(process: GuestProcess, stage_input: dict[str, Any]) -> int:
        say(process, event="progress", message="working")
        return free_space(process, stage_input) if seen.wait(10) else 1

    guest.scripts[TEST_FREE_SPACE.script] = waits_for_its_reader
    contract = dataclasses.replace(TEST_FREE_SPACE, elevated=elevated)
    assert link.run_stage(contract, SPACE, run_id="a", on_progress=lambda _progress: seen.set()).changed is False


def test_input_larger_than_an_envelope_arrives_whole(guest: ScriptedGuest, link: GuestLink) -> None:
    received: list[str] = []

    def keep(process: GuestProcess, stage_input: dict[str, Any]) -> int:
        received.append(stage_input["text"])
        return say(process, event="result", changed=True)

    guest.scripts[SET_TEXT_FILE.script] = keep
    text = "äöü€" * STDIN_CHUNK_BYTES
    link.run_stage(SET_TEXT_FILE, TextFileInput(path=r"C:\notes.txt", text=text), run_id="a")
    assert received == [text]


@pytest.mark.parametrize("elevated", [False, True])
def test_output_of_megabytes_streams_through(guest: ScriptedGuest, link: GuestLink, elevated: bool) -> None:
    def talkative(process: GuestProcess, stage_input: dict[str, Any]) -> int:
        for number in range(3000):
            say(process, event="progress", message="x" * 500, done=number)
        return free_space(process, stage_input)

    guest.scripts[TEST_FREE_SPACE.script] = talkative
    progress: list[Progress] = []
    link.run_stage(dataclasses.replace(TEST_FREE_SPACE, elevated=elevated), SPACE, run_id="a", on_progress=progress.append)
    assert [event.done for event in progress] == list(range(3000))


@pytest.mark.parametrize("elevated", [False, True])
def test_failure_keeps_code_message_and_error_stream(guest: ScriptedGuest, link: GuestLink, elevated: bool) -> None:
    def fails(process: GuestProcess, _stage_input: dict[str, Any]) -> int:
        process.write_error('#< CLIXML\r\n<Objs Version="1.1.0.1"><S S="Error">no space &gt; 5_x000D__x000A_</S></Objs>')
        say(process, event="error", code="disk-full", message="3 bytes left")
        return 112

    guest.scripts[TEST_FREE_SPACE.script] = fails
    with pytest.raises(StageError) as caught:
        link.run_stage(dataclasses.replace(TEST_FREE_SPACE, elevated=elevated), SPACE, run_id="a")
    error = caught.value
    assert (error.code, error.what, error.guest_exit_code, error.stderr_tail) == ("disk-full", "3 bytes left", 112, "no space > 5")
    assert guest.read_files == (["a"] if elevated else [])


@pytest.mark.parametrize("elevated", [False, True])
def test_stage_that_hangs_ends_at_its_deadline(guest: ScriptedGuest, link: GuestLink, elevated: bool) -> None:
    stopped = threading.Event()

    def hangs(process: GuestProcess, _stage_input: dict[str, Any]) -> int:
        if process.stop_event.wait(10):
            stopped.set()
        return 1

    guest.scripts[TEST_FREE_SPACE.script] = hangs
    started = time.monotonic()
    with pytest.raises(StageError, match="not finished after 1 s") as caught:
        link.run_stage(dataclasses.replace(TEST_FREE_SPACE, elevated=elevated, timeout_s=1), SPACE, run_id="a")
    assert caught.value.code == "timeout"
    assert time.monotonic() - started < 5
    if elevated:
        assert guest.read_files == ["a"]
    else:
        assert stopped.wait(5)


def test_silent_stage_is_waited_for_although_the_guest_says_timed_out(guest: ScriptedGuest, make_link: MakeLink) -> None:
    def silent(process: GuestProcess, stage_input: dict[str, Any]) -> int:
        process.stop_event.wait(2.5)
        return free_space(process, stage_input)

    guest.scripts[TEST_FREE_SPACE.script] = silent
    make_link(operation_s=1).run_stage(TEST_FREE_SPACE, SPACE, run_id="a")
    assert guest.requests.count("Receive") >= 4
    assert guest.starts == ["Test-FreeSpace.ps1"]


def test_failing_callback_stops_the_script_and_comes_through(guest: ScriptedGuest, link: GuestLink) -> None:
    stopped = threading.Event()

    def waits(process: GuestProcess, _stage_input: dict[str, Any]) -> int:
        say(process, event="progress", message="m")
        if process.stop_event.wait(10):
            stopped.set()
        return 1

    def refuse(_progress: Progress) -> None:
        raise ValueError("the reader failed")

    guest.scripts[TEST_FREE_SPACE.script] = waits
    with pytest.raises(ValueError, match="the reader failed"):
        link.run_stage(TEST_FREE_SPACE, SPACE, run_id="a", on_progress=refuse)
    assert stopped.wait(5)


@pytest.mark.parametrize("elevated", [False, True])
def test_no_secret_of_the_input_reaches_progress_or_error(guest: ScriptedGuest, link: GuestLink, elevated: bool) -> None:
    def tells_everything(process: GuestProcess, stage_input: dict[str, Any]) -> int:
        say(process, event="progress", message=f"get {stage_input['files'][0]['url']}")
        process.write_error(json.dumps(stage_input) + PASSWORD)
        say(process, event="error", code="download", message=json.dumps(stage_input))
        return 1

    guest.scripts[SAVE_FILES.script] = tells_everything
    files = tuple(
        SourceFile(url=url, path=r"C:\f", sha256="0" * 64, size_bytes=1)
        for url in ("https://a.blob.core.windows.net/c/b?sv=2024&sp=r&sig=S3CRETS1G%3D", "https://private/fix?key=T0PS3CRET")
    )
    progress: list[Progress] = []
    with pytest.raises(StageError) as caught:
        contract = dataclasses.replace(SAVE_FILES, elevated=elevated, timeout_s=60)
        link.run_stage(contract, SaveFileInput(files=files, parallel=1, attempts=1), run_id="a", on_progress=progress.append)
    assert (f"{SAVE_FILES.script} (SYSTEM)" in guest.starts) is elevated
    said = str(caught.value) + repr(caught.value.__dict__) + repr(progress)
    assert "https://a.blob.core.windows.net/c/b" in said
    assert not [secret for secret in ("S3CRET", "T0PS", PASSWORD) if secret in said]


def test_generalize_reads_the_result_says_so_and_closes_the_link(guest: ScriptedGuest, link: GuestLink) -> None:
    def generalize(process: GuestProcess, _stage_input: dict[str, Any]) -> int:
        return say(process, event="result", changed=True, image_state="IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE", seconds=1.5)

    guest.scripts[GENERALIZE.script] = generalize
    assert link.generalize(GENERALIZE_INPUT, run_id="g").image_state == "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE"
    assert guest.read_files == ["g"]
    with pytest.raises(Exception, match="the link is closed"):
        link.state()


def test_wrong_password_is_refused_at_once(guest: ScriptedGuest, package: ScriptPackage) -> None:
    endpoint = guest.endpoint.model_copy(update={"account": "somebody-else"})
    started = time.monotonic()
    with GuestLink(endpoint, package=package) as link, pytest.raises(LinkRefusedError, match="401"):
        link.state()
    assert time.monotonic() - started < 3
