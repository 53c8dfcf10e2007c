"""The link against the stand-in's own guest: real scripts behind the gate, the machine model, restarts, the last contact."""

from __future__ import annotations

import dataclasses
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pypsrp.shell import Process, SignalCode, WinRS
from pypsrp.wsman import WSMan

from images.errors import StageError
from images.stages.finish import GENERALIZE, SET_IDENTITY, TEST_FREE_SPACE, FreeSpaceInput, GeneralizeInput, VhdIdentityInput
from images.stages.link import GUEST_FOLDER, READ_OUTPUT, START_TASK, ReadOutputInput, StartTaskInput
from images.stages.system import GET_GUEST_STATE, INSTALL_FEATURE, SET_WINRM_START, FeatureInput, FeatureResult, WinRmStartModeInput
from infra.guest.faults import GuestSilentError, LinkRefusedError, LinkStoppedError
from infra.guest.link import GuestLink
from infra.guest.package import build_package, file_command
from infra.local.guest.remoting import winrm_start
from infra.local.latency import LatencyProfile
from infra.local.machine.disk import MachineDisk
from tests.contract.guest_link.build_guest import LIMITS, VM_ID, BuildGuest, wait_for


def test_first_contact_upload_and_a_direct_stage(build: BuildGuest, build_link: GuestLink) -> None:
    vhd_id = "5f0ac6e9-4a2b-4f5c-9d5e-0123456789ab"
    assert build_link.run_stage(SET_IDENTITY, VhdIdentityInput(vhd_id=vhd_id), run_id="identity").changed
    assert build_link.run_stage(SET_IDENTITY, VhdIdentityInput(vhd_id=vhd_id), run_id="identity-2").changed is False
    assert vhd_id in MachineDisk.open(build.disk_folder).path(r"C:\vhd-id.txt").read_text()
    names = {path.name for path in MachineDisk.open(build.disk_folder).path(r"C:\winvhd").iterdir()}
    assert set(build_package().names) <= names


@pytest.mark.parametrize("auth", ["basic", "ntlm"])
def test_foreign_client_runs_the_contracts_commands(build: BuildGuest, tmp_path: Path, auth: str) -> None:
    endpoint, package = build.contact(), build_package()
    certificate = tmp_path / "pinned.pem"
    certificate.write_text(endpoint.certificate)

    def run(shell: WinRS, command: tuple[str, ...], stdin: bytes) -> dict[str, object]:
        process = Process(shell, command[0], list(command[1:]))
        process.begin_invoke()
        process.send(stdin)
        process.end_invoke()
        assert process.rc == 0, process.stderr
        lines = [json.loads(line) for line in process.stdout.splitlines()]
        process.signal(SignalCode.TERMINATE)
        return dict(lines[-1])

    # cert_validation also takes the path of the certificate to trust, which its type does not say.
    trusted: Any = str(certificate)
    password = endpoint.password.get_secret_value()
    with (
        WSMan(
            "127.0.0.1", port=endpoint.port, username=endpoint.account, password=password, auth=auth, cert_validation=trusted, no_proxy=True
        ) as wsman,
        WinRS(wsman, codepage=65001) as shell,
    ):
        assert run(shell, package.receive_command, package.data)["changed"] is True
        assert run(shell, package.receive_command, package.data)["changed"] is False
        state = run(shell, file_command(GET_GUEST_STATE.script, GUEST_FOLDER), b"{}")
        assert (state["event"], state["os_build"]) == ("result", "20348.4529")
        start = StartTaskInput(run_id="f", script=INSTALL_FEATURE.script, input={"features": ["Containers"]}, timeout_s=60)
        assert run(shell, file_command(START_TASK.script, GUEST_FOLDER), start.model_dump_json().encode())["started"] is True
        read = ReadOutputInput(run_id="f", offset=0, wait_s=5, max_bytes=1 << 16).model_dump_json().encode()
        wait_for(lambda: run(shell, file_command(READ_OUTPUT.script, GUEST_FOLDER), read)["state"] == "ended")


def test_elevated_stage_then_the_restart_it_asks_for(build: BuildGuest, build_link: GuestLink) -> None:
    before = build_link.wait_until_ready()
    result = build_link.run_stage(INSTALL_FEATURE, FeatureInput(features=("Containers",)), run_id="feature-1")
    assert isinstance(result, FeatureResult)
    assert (result.changed, result.reboot_required) == (True, True)
    after = build_link.restart()
    assert after.boot_time != before.boot_time
    assert not after.pending_reboot
    again = build_link.run_stage(INSTALL_FEATURE, FeatureInput(features=("Containers",)), run_id="feature-2")
    assert (again.changed, again.reboot_required) == (False, False)


def test_stage_that_servicing_refuses_in_a_shell_says_so(build_link: GuestLink) -> None:
    with pytest.raises(StageError):
        build_link.run_stage(
            dataclasses.replace(INSTALL_FEATURE, elevated=False, timeout_s=60), FeatureInput(features=("Containers",)), run_id="f"
        )


def test_failed_stage_has_the_scripts_code(build_link: GuestLink) -> None:
    with pytest.raises(StageError) as caught:
        build_link.run_stage(INSTALL_FEATURE, FeatureInput(features=("Contaners",)), run_id="f")
    assert caught.value.code == "unknown-feature"
    with pytest.raises(StageError):
        build_link.run_stage(TEST_FREE_SPACE, FreeSpaceInput(minimum_free_bytes=1 << 60), run_id="s")


@pytest.mark.parametrize("skip", [0, 1, 4])
def test_connections_dropped_in_mid_stage_lose_nothing(build: BuildGuest, build_link: GuestLink, skip: int) -> None:
    build_link.upload_scripts()
    build.fail("guest.winrm-drop", "dropped", times=2, skip=skip)
    assert build_link.run_stage(INSTALL_FEATURE, FeatureInput(features=("Containers",)), run_id="f").changed
    build_link.run_stage(SET_WINRM_START, WinRmStartModeInput(mode="delayed-auto"), run_id="w")
    assert winrm_start(MachineDisk.open(build.disk_folder)).delayed


def test_winrm_service_that_restarts_is_survived(build: BuildGuest, build_link: GuestLink) -> None:
    build_link.state()
    build.host.restart_winrm(VM_ID)
    build_link.state()


def test_guest_that_restarts_by_itself_in_mid_stage_is_survived(build: BuildGuest, build_link: GuestLink) -> None:
    build_link.upload_scripts()
    build.fail("guest.reboot-mid-stage", "reboot", times=1)
    assert build_link.run_stage(INSTALL_FEATURE, FeatureInput(features=("Containers",)), run_id="f").changed


def test_second_first_contact_takes_over_and_ends_the_first_ones_trust(build: BuildGuest, build_link: GuestLink) -> None:
    build_link.state()
    with GuestLink(build.contact(), limits=LIMITS) as second:
        assert second.state().computer_name
        with pytest.raises((LinkRefusedError, GuestSilentError)):
            build_link.state()


def test_last_contact_leaves_a_stopped_guest_without_traces(build: BuildGuest) -> None:
    endpoint = build.contact()
    with GuestLink(endpoint, limits=LIMITS) as link:
        wanted = GeneralizeInput(
            sysprep_timeout_s=60,
            build_account=endpoint.account,
            certificate_thumbprint=endpoint.thumbprint,
            listener_port=endpoint.port,
        )
        result = link.generalize(wanted, run_id="generalize-1")
    assert result.image_state == "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE"
    assert GENERALIZE.elevated
    wait_for(lambda: build.host.power_state(VM_ID) == "stopped")
    disk = MachineDisk.open(build.disk_folder)
    assert not disk.path(r"C:\winvhd").exists()
    for traces in (endpoint.account, endpoint.password.get_secret_value()):
        assert not [path for path in build.disk_folder.rglob("*") if path.is_file() and traces.encode() in path.read_bytes()]


def test_stuck_sysprep_is_told_apart(build: BuildGuest) -> None:
    endpoint = build.contact()
    build.fail("guest.sysprep", "stuck")
    with GuestLink(endpoint, limits=LIMITS) as link, pytest.raises(StageError) as caught:
        wanted = GeneralizeInput(
            sysprep_timeout_s=1, build_account=endpoint.account, certificate_thumbprint=endpoint.thumbprint, listener_port=endpoint.port
        )
        link.generalize(wanted, run_id="g")
    assert caught.value.code == "sysprep-stuck"


def test_another_link_works_while_the_first_one_waits_for_its_stage(base_disk: Path, tmp_path: Path) -> None:
    slow = LatencyProfile(scale=1, minutes={"guest.install-feature": 10})
    stopping = threading.Event()
    with BuildGuest(base_disk, tmp_path / "disks", slow) as guest, GuestLink(guest.contact(), limits=LIMITS, stopping=stopping) as link:
        link.upload_scripts()
        with ThreadPoolExecutor(1) as pool, link.another() as other:
            feature = pool.submit(link.run_stage, INSTALL_FEATURE, FeatureInput(features=("Containers",)), run_id="feature")
            wait_for(lambda: guest.tasks() == {"feature"})
            assert other.run_stage(SET_IDENTITY, VhdIdentityInput(vhd_id=str(uuid4())), run_id="identity").changed
            assert not feature.done()
            # Its own connection and its own account of it: the scripts crossed the first link.
            assert other.traffic.sent_bytes < link.traffic.sent_bytes
            # What stops the build stops both.
            stopping.set()
            with pytest.raises(LinkStoppedError):
                feature.result(60)
            with pytest.raises(LinkStoppedError):
                other.state()
