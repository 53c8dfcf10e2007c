"""The link against the stand-in's own guest: real scripts behind the gate, the machine model, restarts, the last contact."""

from __future__ import annotations

import dataclasses
import json
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from pypsrp.shell import Process, SignalCode, WinRS
from pypsrp.wsman import WSMan

from images.errors import StageError
from images.stages.finish import GENERALIZE, SET_IDENTITY, TEST_FREE_SPACE, FreeSpaceInput, GeneralizeInput, VhdIdentityInput
from images.stages.link import GUEST_FOLDER, READ_OUTPUT, START_TASK, ReadOutputInput, StartTaskInput
from images.stages.system import GET_GUEST_STATE, INSTALL_FEATURE, SET_WINRM_START, FeatureInput, FeatureResult, WinRmStartModeInput
from infra.guest.contact import first_contact
from infra.guest.endpoint import GuestEndpoint
from infra.guest.faults import GuestSilentError, LinkRefusedError
from infra.guest.link import GuestLink
from infra.guest.package import build_package, file_command
from infra.local.contracts import BaseImageReference, MachineSpec, OsProfile, Outside, RunCommandOutcome
from infra.local.faults import Fault, FaultPlan, FaultRule, Faults
from infra.local.guest.host import WsmanGuestHost
from infra.local.guest.remoting import winrm_start
from infra.local.latency import LatencyProfile
from infra.local.machine.base import create_base_disk
from infra.local.machine.disk import MachineDisk
from tests.contract.guest_link.conftest import HURRIED

VM_ID = "/subscriptions/s/resourcegroups/rg/providers/microsoft.compute/virtualmachines/build"
BASE = BaseImageReference("MicrosoftWindowsServer", "WindowsServer", "2022-datacenter-core-smalldisk-g2", "20348.4529.251112", "V2")
LIMITS = HURRIED.model_copy(update={"restart_again_s": 5.0, "restart_s": 30.0, "reconnect_s": 10.0})


class BuildGuest:
    """A booted VM of the stand-in with what a build knows about it."""

    def __init__(self, host: WsmanGuestHost, disk_folder: Path, faults: Faults) -> None:
        self.host, self.disk_folder, self.faults = host, disk_folder, faults
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])

    def run_command(self, script: str, parameters: Mapping[str, str], protected: Mapping[str, SecretStr]) -> RunCommandOutcome:
        return self.host.run_command(VM_ID, script, parameters, {key: value.get_secret_value() for key, value in protected.items()}, 30)

    def contact(self) -> GuestEndpoint:
        return first_contact(self.run_command, "127.0.0.1", self.port, pause_s=0.1)

    def fail(self, point: str, code: str, **options: int) -> None:
        self.faults.replace(FaultPlan(rules=(FaultRule(point=point, fault=Fault(code=code), **options),)))


@pytest.fixture(scope="module")
def base_disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "disk"
    create_base_disk(folder, BASE, 30)
    return folder


@pytest.fixture
def build(tmp_path: Path, base_disk: Path) -> Iterator[BuildGuest]:
    folder = tmp_path / "disks" / "os"
    folder.parent.mkdir()
    MachineDisk.open(base_disk).copy_to(folder)
    faults = Faults()
    host = WsmanGuestHost(folder.parent, Outside("http://127.0.0.1:9"), faults, LatencyProfile())
    try:
        host.power_on(MachineSpec(VM_ID, "os", "V2", False, 30, OsProfile("build-vm", "azureadmin", secrets.token_urlsafe(16))))
        yield BuildGuest(host, folder, faults)
    finally:
        host.close()


@pytest.fixture
def link(build: BuildGuest) -> Iterator[GuestLink]:
    with GuestLink(build.contact(), limits=LIMITS) as link:
        yield link


def wait_for(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.02)


def test_first_contact_upload_and_a_direct_stage(build: BuildGuest, link: GuestLink) -> None:
    vhd_id = "5f0ac6e9-4a2b-4f5c-9d5e-0123456789ab"
    assert link.run_stage(SET_IDENTITY, VhdIdentityInput(vhd_id=vhd_id), run_id="identity").changed
    assert link.run_stage(SET_IDENTITY, VhdIdentityInput(vhd_id=vhd_id), run_id="identity-2").changed is False
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


def test_elevated_stage_then_the_restart_it_asks_for(build: BuildGuest, link: GuestLink) -> None:
    before = link.wait_until_ready()
    result = link.run_stage(INSTALL_FEATURE, FeatureInput(features=("Containers",)), run_id="feature-1")
    assert isinstance(result, FeatureResult)
    assert (result.changed, result.reboot_required) == (True, True)
    after = link.restart()
    assert after.boot_time != before.boot_time
    assert not after.pending_reboot
    again = link.run_stage(INSTALL_FEATURE, FeatureInput(features=("Containers",)), run_id="feature-2")
    assert (again.changed, again.reboot_required) == (False, False)


def test_stage_that_servicing_refuses_in_a_shell_says_so(link: GuestLink) -> None:
    with pytest.raises(StageError):
        link.run_stage(
            dataclasses.replace(INSTALL_FEATURE, elevated=False, timeout_s=60), FeatureInput(features=("Containers",)), run_id="f"
        )


def test_failed_stage_has_the_scripts_code(link: GuestLink) -> None:
    with pytest.raises(StageError) as caught:
        link.run_stage(INSTALL_FEATURE, FeatureInput(features=("Contaners",)), run_id="f")
    assert caught.value.code == "unknown-feature"
    with pytest.raises(StageError):
        link.run_stage(TEST_FREE_SPACE, FreeSpaceInput(minimum_free_bytes=1 << 60), run_id="s")


@pytest.mark.parametrize("skip", [0, 1, 4])
def test_connections_dropped_in_mid_stage_lose_nothing(build: BuildGuest, link: GuestLink, skip: int) -> None:
    link.upload_scripts()
    build.fail("guest.winrm-drop", "dropped", times=2, skip=skip)
    assert link.run_stage(INSTALL_FEATURE, FeatureInput(features=("Containers",)), run_id="f").changed
    link.run_stage(SET_WINRM_START, WinRmStartModeInput(mode="delayed-auto"), run_id="w")
    assert winrm_start(MachineDisk.open(build.disk_folder)).delayed


def test_winrm_service_that_restarts_is_survived(build: BuildGuest, link: GuestLink) -> None:
    link.state()
    build.host.restart_winrm(VM_ID)
    link.state()


def test_guest_that_restarts_by_itself_in_mid_stage_is_survived(build: BuildGuest, link: GuestLink) -> None:
    link.upload_scripts()
    build.fail("guest.reboot-mid-stage", "reboot", times=1)
    assert link.run_stage(INSTALL_FEATURE, FeatureInput(features=("Containers",)), run_id="f").changed


def test_second_first_contact_takes_over_and_ends_the_first_ones_trust(build: BuildGuest, link: GuestLink) -> None:
    link.state()
    with GuestLink(build.contact(), limits=LIMITS) as second:
        assert second.state().computer_name
        with pytest.raises((LinkRefusedError, GuestSilentError)):
            link.state()


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
