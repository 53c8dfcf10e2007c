"""Scripts that break the contract and guests that have bad luck, over the whole way: each ends as a typed error that says what happened."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from images.errors import StageError
from images.stages.content import (
    PULL_IMAGES,
    SAVE_FILES,
    ImageToPull,
    PulledImage,
    PullImageInput,
    PullImageResult,
    SaveFileInput,
    SourceFile,
)
from images.stages.contract import NoInput, StageContract, StageInput
from images.stages.finish import (
    CLEAR_LEFTOVERS,
    SET_IDENTITY,
    SET_TEXT_FILE,
    TEST_FREE_SPACE,
    FreeSpaceInput,
    TextFileInput,
    VhdIdentityInput,
)
from images.stages.system import INSTALL_FEATURE, FeatureInput
from infra.fetch.http import make_client
from infra.fetch.registry import Registry
from infra.guest.json_lines import Progress
from infra.guest.link import GuestLink
from infra.local.contracts import Outside
from infra.local.guest.process import GuestProcess
from infra.local.latency import LatencyProfile
from infra.local.machine import containerd, services
from infra.local.origin.server import create_app
from tests.contract.guest_link.build_guest import LIMITS, BuildGuest, wait_for
from tests.contract.guest_link.conftest import MakeLink
from tests.contract.guest_link.scripted_guest import ScriptedGuest, say
from tests.unit.local.origin.serving import serve

SPACE = FreeSpaceInput(minimum_free_bytes=5)
RESULT = b'{"event":"result","changed":false,"free_bytes":5}\n'
ELEVATED = dataclasses.replace(TEST_FREE_SPACE, elevated=True, timeout_s=10)
WAYS = pytest.mark.parametrize("contract", [TEST_FREE_SPACE, ELEVATED], ids=["direct", "elevated"])


def prints(*pieces: bytes, exit_code: int = 0, error: bytes = b"") -> Callable[[GuestProcess, dict[str, Any]], int]:
    def script(process: GuestProcess, _stage_input: dict[str, Any]) -> int:
        for piece in pieces:
            process.write("stdout", piece)
        process.write("stderr", error)
        return exit_code

    return script


@WAYS
@pytest.mark.parametrize(
    ("script", "code"),
    [
        (prints(b"\x00\x01 garbage \x7f\r\n", RESULT), "not-json"),
        (prints(), "no-result"),
        (prints(RESULT, RESULT), "two-results"),
        (prints('{"event":"progress","message":"Größe"}\n'.encode("cp850"), RESULT), "not-utf-8"),
        (prints(RESULT, exit_code=1), "result-with-failure"),
        (prints(b'{"event":"result","changed":false}\n'), "bad-result"),
    ],
    ids=["garbage", "exit 0 without a result", "two results", "another code page", "exit 1 with a result", "a field is missing"],
)
def test_script_that_breaks_the_contract_is_named(
    guest: ScriptedGuest, link: GuestLink, contract: StageContract, script: Callable[[GuestProcess, dict[str, Any]], int], code: str
) -> None:
    guest.scripts[TEST_FREE_SPACE.script] = script
    with pytest.raises(StageError) as caught:
        link.run_stage(contract, SPACE, run_id="a")
    assert caught.value.code == code
    # The guest and the link are as good as before.
    guest.scripts[TEST_FREE_SPACE.script] = prints(RESULT)
    assert not link.run_stage(contract, SPACE, run_id="b").changed


def test_line_of_fifty_megabytes_is_a_result_like_any_other(guest: ScriptedGuest, link: GuestLink) -> None:
    text = "x" * 50_000_000
    line = json.dumps({"event": "result", "changed": True, "removed": [text], "free_bytes": 1}).encode() + b"\n"
    guest.scripts[CLEAR_LEFTOVERS.script] = prints(*(line[start : start + (1 << 20)] for start in range(0, len(line), 1 << 20)))
    direct = dataclasses.replace(CLEAR_LEFTOVERS, elevated=False, timeout_s=60)
    assert link.run_stage(direct, NoInput(), run_id="a").model_dump()["removed"] == (text,)


@WAYS
def test_thousand_progress_events_a_second_arrive_in_order_in_few_round_trips(
    guest: ScriptedGuest, link: GuestLink, contract: StageContract
) -> None:
    def chatty(process: GuestProcess, _stage_input: dict[str, Any]) -> int:
        started = time.monotonic()
        for number in range(1000):
            say(process, event="progress", message="step", done=number, total=1000)
            time.sleep(max(0.0, started + number / 1000 - time.monotonic()))
        process.write("stdout", RESULT)
        return 0

    guest.scripts[TEST_FREE_SPACE.script] = chatty
    link.upload_scripts()
    seen: list[Progress] = []
    before = link.traffic.round_trips
    link.run_stage(contract, SPACE, run_id="a", on_progress=seen.append)
    assert [event.done for event in seen] == list(range(1000))
    assert link.traffic.round_trips - before < 1000


@WAYS
def test_clixml_noise_on_the_error_stream_is_no_failure_and_readable_when_it_is_one(
    guest: ScriptedGuest, link: GuestLink, contract: StageContract
) -> None:
    noise = '#< CLIXML\r\n<Objs Version="1.1.0.1"><Obj S="progress" RefId="0"/><S S="Error">wusa: Größe_x000D__x000A_</S></Objs>'.encode()
    guest.scripts[TEST_FREE_SPACE.script] = prints(RESULT, error=noise)
    assert not link.run_stage(contract, SPACE, run_id="a").changed
    guest.scripts[TEST_FREE_SPACE.script] = prints(exit_code=3, error=noise)
    with pytest.raises(StageError) as caught:
        link.run_stage(contract, SPACE, run_id="b")
    assert caught.value.stderr_tail == "wusa: Größe"


def hang(build: BuildGuest, link: GuestLink, contract: StageContract, stage_input: StageInput) -> StageError:
    link.upload_scripts()
    build.fail("guest.stage", "hang", times=1)
    with pytest.raises(StageError) as caught:
        link.run_stage(dataclasses.replace(contract, timeout_s=1), stage_input, run_id="hung")
    return caught.value


@pytest.mark.parametrize("elevated", [False, True])
def test_native_tool_that_hangs_for_ever_ends_with_its_stage(build: BuildGuest, build_link: GuestLink, elevated: bool) -> None:
    contract = dataclasses.replace(SET_IDENTITY, elevated=elevated)
    stage_input = VhdIdentityInput(vhd_id="5f0ac6e9-4a2b-4f5c-9d5e-0123456789ab")
    error = hang(build, build_link, contract, stage_input)
    assert error.code == "timeout"
    assert "waiting for a program that does not end" in error.stderr_tail
    assert build_link.run_stage(contract, stage_input, run_id="again").changed
    assert not list(build.disk.path(r"C:\winvhd\runs").glob("hung.*"))


def test_task_that_outlives_its_own_time_limit_is_ended_from_outside(build: BuildGuest, monkeypatch: pytest.MonkeyPatch) -> None:
    # The guest's own watchdog hangs, too: only Remove-StageTask.ps1 is left.
    monkeypatch.setattr("infra.local.guest.scheduled_tasks._TaskProcess.time_out", lambda _process, _timeout_s: None)
    with GuestLink(build.contact(), limits=LIMITS) as link:
        error = hang(build, link, INSTALL_FEATURE, FeatureInput(features=("Containers",)))
        assert error.code == "timeout"
        assert "waiting for a program that does not end" in error.stderr_tail
        boot = build.host._vms[build.vm_id].boot
        assert boot is not None
        assert boot.guest is not None
        assert boot.guest.tasks._running == {}
        assert not list(build.disk.path(r"C:\winvhd\runs").glob("hung.*"))
        assert link.run_stage(INSTALL_FEATURE, FeatureInput(features=("Containers",)), run_id="again").changed


def test_full_disk_is_told_with_what_to_do(build: BuildGuest, build_link: GuestLink) -> None:
    build_link.upload_scripts()
    build.fail("guest.stage", "disk-full", times=1)
    with pytest.raises(StageError) as caught:
        build_link.run_stage(SET_TEXT_FILE, TextFileInput(path="C:\\a.txt", text="b"), run_id="a")
    assert (caught.value.code, "os_disk_gib" in caught.value.hint) == ("disk-full", True)


def test_locked_file_is_told_with_what_to_do(build: BuildGuest, build_link: GuestLink) -> None:
    build_link.upload_scripts()
    build.fail("guest.stage", "file-locked", times=1)
    with pytest.raises(StageError) as caught:
        build_link.run_stage(SET_TEXT_FILE, TextFileInput(path="C:\\a.txt", text="b"), run_id="a")
    assert (caught.value.code, "has the file open" in caught.value.hint) == ("file-locked", True)


@pytest.mark.parametrize(("start", "code"), [(services.DISABLED, "containerd-stopped"), (None, "containerd-missing")])
def test_stopped_or_missing_containerd_is_named(build: BuildGuest, build_link: GuestLink, start: int | None, code: str) -> None:
    build_link.upload_scripts()
    boot = build.host._vms[build.vm_id].boot
    assert boot is not None
    if start is not None:
        services.set_service(boot.disk, "containerd", start)
    wanted = PullImageInput(images=(ImageToPull(reference="mcr.example/pause:1", digest="sha256:" + "0" * 64),), parallel=1, attempts=1)
    with pytest.raises(StageError) as caught:
        build_link.run_stage(PULL_IMAGES, wanted, run_id="a")
    assert caught.value.code == code


def test_digest_that_the_registry_does_not_have_is_told_with_what_to_do(tmp_path: Path, base_disk: Path) -> None:
    gone = ImageToPull(reference="mcr.microsoft.com/oss/v2/kubernetes/pause:3.10.2", digest="sha256:" + "0" * 64)
    with serve(create_app(tmp_path / "origin")) as gateway, BuildGuest(base_disk, tmp_path / "disks", outside=gateway) as build:
        boot = build.host._vms[build.vm_id].boot
        assert boot is not None
        services.set_service(boot.disk, "containerd", services.AUTO)
        with GuestLink(build.contact(), limits=LIMITS) as link, pytest.raises(StageError) as caught:
            link.upload_scripts()
            link.run_stage(PULL_IMAGES, PullImageInput(images=(gone,), parallel=1, attempts=3), run_id="a")
    assert (caught.value.code, "run `winvhd lock`" in caught.value.hint) == ("manifest-unknown", True)
    assert f"the registry does not have mcr.microsoft.com/oss/v2/kubernetes/pause@{gone.digest}" in str(caught.value)


def test_layers_that_blob_storage_does_not_give_come_from_the_registry_and_the_token_stays_secret(tmp_path: Path, base_disk: Path) -> None:
    with serve(create_app(tmp_path / "origin")) as gateway, BuildGuest(base_disk, tmp_path / "disks", outside=gateway) as build:
        with make_client() as client:
            locked = Registry(client, Outside(gateway).route).lock_image("mcr.microsoft.com/oss/v2/kubernetes/pause:3.10.2", 20348)
        urls = {blob.sha256: f"http://127.0.0.1:9/cache/{blob.sha256}?sv=1&sig=c2VjcmV0" for blob in locked.blobs[1:]}
        pause = ImageToPull(reference=locked.reference, digest=locked.digest, blobs={locked.blobs[0].sha256: "", **urls})
        boot = build.host._vms[build.vm_id].boot
        assert boot is not None
        services.set_service(boot.disk, "containerd", services.AUTO)
        progress: list[Progress] = []
        with GuestLink(build.contact(), limits=LIMITS) as link:
            link.upload_scripts()
            wanted = PullImageInput(images=(pause,), parallel=1, attempts=1)
            result = link.run_stage(PULL_IMAGES, wanted, run_id="a", on_progress=progress.append)
        assert isinstance(result, PullImageResult)
        assert result.images == (PulledImage(reference=locked.reference, digest=locked.digest, attempts=1),)
        assert all(containerd.has_blob(boot.disk, f"sha256:{blob.sha256}") for blob in locked.blobs)
        assert b"c2VjcmV0" not in b"".join(file.read_bytes() for file in build.disk_folder.rglob("*") if file.is_file())
        assert "c2VjcmV0" not in str(progress) + str(result)


def test_unreachable_blob_storage_is_named_without_the_token(build: BuildGuest, build_link: GuestLink) -> None:
    file = SourceFile(url="http://127.0.0.1:9/cache/a?sv=1&sig=c2VjcmV0", path="C:\\akse-cache\\a", sha256="0" * 64, size_bytes=5)
    with pytest.raises(StageError) as caught:
        build_link.run_stage(SAVE_FILES, SaveFileInput(files=(file,), parallel=1, attempts=1), run_id="a")
    assert caught.value.code == "download-failed"
    assert "c2VjcmV0" not in str(caught.value) + caught.value.stderr_tail


def test_services_that_still_come_up_are_waited_for(tmp_path: Path, base_disk: Path) -> None:
    slow = LatencyProfile(scale=1, minutes={"guest.services": 1.5 / 60, "guest.boot": 0, "guest.feature": 0})
    with BuildGuest(base_disk, tmp_path / "disks", slow) as build, GuestLink(build.contact(), limits=LIMITS) as link:
        assert link.restart().services_stable
        started = time.monotonic()
        build.host.restart(build.vm_id)
        wait_for(lambda: build.host.agent_ready(build.vm_id))
        assert link.state().services_stable is False
        assert link.wait_until_ready().services_stable
        assert time.monotonic() - started > 1.5


def test_file_with_a_result_that_is_cut_off_by_a_restart_runs_again(guest: ScriptedGuest, make_link: MakeLink) -> None:
    boots: list[int] = []

    def cut(process: GuestProcess, _stage_input: dict[str, Any]) -> int:
        boots.append(guest.boots)
        if len(boots) == 1:
            process.write("stdout", b'{"event":"result","chan')
            guest.reboot_soon()
            process.stop_event.wait(2)
            return 1
        process.write("stdout", RESULT)
        return 0

    guest.scripts[TEST_FREE_SPACE.script] = cut
    assert not make_link().run_stage(ELEVATED, SPACE, run_id="a").changed
    assert boots == [1, 2]
