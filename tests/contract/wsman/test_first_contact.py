"""From a disk without any way in to a stage that runs: the scripts of the checkout, the real gate, the machine model."""

from __future__ import annotations

import base64
import io
import json
import socket
import ssl
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from winrm.protocol import Protocol

from images.stages.boot import ENABLE_REMOTING, RemotingResult
from images.stages.finish import GENERALIZE
from images.stages.link import READ_OUTPUT, REMOVE_TASK, START_TASK
from images.stages.system import GET_GUEST_STATE, INSTALL_FEATURE
from infra.guest.package import SCRIPTS_FOLDER, build_package, encoded_command
from infra.local.contracts import MachineSpec, OsProfile, Outside
from infra.local.faults import Faults
from infra.local.guest.host import WsmanGuestHost
from infra.local.guest.run_command import HANDLER_FOLDER
from infra.local.latency import LatencyProfile
from infra.local.machine.accounts import account_names
from infra.local.machine.disk import MachineDisk
from infra.local.machine.remoting import listeners
from tests.contract.wsman.conftest import ACCOUNT, OPTIONS, PASSWORD, POWERSHELL, VM_ID, answers, free_port, wait_for

SPEC = MachineSpec(VM_ID, "os", "V2", False, 30, OsProfile("build-vm", "azureadmin", "pass-of-the-admin"))


def script_text(name: str) -> str:
    return (SCRIPTS_FOLDER / name).read_text(encoding="utf-8")


@pytest.fixture
def host(tmp_path: Path, base_disk: Path) -> Iterator[WsmanGuestHost]:
    """A host with one machine, just switched on."""
    (tmp_path / "disks").mkdir()
    MachineDisk.open(base_disk).copy_to(tmp_path / "disks" / "os")
    host = WsmanGuestHost(tmp_path / "disks", Outside("http://127.0.0.1:9"), Faults(), LatencyProfile())
    try:
        host.power_on(SPEC)
        yield host
    finally:
        host.close()


def contact(host: WsmanGuestHost, port: int, text: str | None = None) -> Any:
    given = {"address": "127.0.0.1", "port": str(port), "account": ACCOUNT, "nonce": "n-1"}
    return host.run_command(VM_ID, text or script_text(ENABLE_REMOTING.script), given, {"password": PASSWORD}, 20)


def connect(host: WsmanGuestHost, folder: Path) -> Protocol:
    port = free_port()
    outcome = contact(host, port)
    assert outcome.state == "Succeeded", outcome.error
    fields = json.loads(outcome.output.splitlines()[-1])
    assert fields.pop("event") == "result"
    result = RemotingResult.model_validate(fields)
    assert (result.nonce, result.port) == ("n-1", port)
    assert PASSWORD not in outcome.output + outcome.error
    pinned = folder / "pinned.pem"
    pinned.write_text(ssl.DER_cert_to_PEM_cert(base64.b64decode(result.certificate)))
    return Protocol(
        endpoint=f"https://127.0.0.1:{port}/wsman",
        transport="basic",
        username=ACCOUNT,
        password=PASSWORD,
        server_cert_validation="validate",
        ca_trust_path=str(pinned),
        proxy=None,
    )


def execute(client: Protocol, command: tuple[str, ...], stdin: bytes) -> tuple[bytes, bytes, int]:
    shell = client.open_shell(codepage=65001)
    running = client.run_command(shell, command[0], command[1:])
    client.send_command_input(shell, running, stdin, end=True)
    output = client.get_command_output(shell, running)
    client.close_shell(shell)
    return output


def stage(client: Protocol, script: str, stage_input: dict[str, Any]) -> tuple[bytes, bytes, int]:
    return execute(client, (POWERSHELL, *OPTIONS, rf"C:\winvhd\{script}"), json.dumps(stage_input).encode())


def upload(client: Protocol) -> None:
    package = build_package()
    out, err, code = execute(client, package.receive_command, package.data)
    assert code == 0, err
    assert json.loads(out) == {"event": "result", "changed": True, "reboot_required": False}


def test_first_contact_upload_and_a_stage(host: WsmanGuestHost, tmp_path: Path) -> None:
    client = connect(host, tmp_path)
    upload(client)
    out, err, code = stage(client, GET_GUEST_STATE.script, {})
    assert code == 0, err
    assert json.loads(out.splitlines()[-1])["computer_name"] == "build-vm"


def test_elevated_stage_is_denied_in_a_shell_and_works_as_a_task(host: WsmanGuestHost, tmp_path: Path) -> None:
    client = connect(host, tmp_path)
    upload(client)
    out, _, code = stage(client, INSTALL_FEATURE.script, {"features": ["Containers"]})
    assert code == 5
    assert json.loads(out.splitlines()[-1])["event"] == "error"
    asked = {"run_id": "r1", "script": INSTALL_FEATURE.script, "input": {"features": ["Containers"]}, "timeout_s": 60}
    assert stage(client, START_TASK.script, asked)[2] == 0
    read: dict[str, Any] = {"state": "running"}
    while read["state"] == "running":
        out, err, code = stage(client, READ_OUTPUT.script, {"run_id": "r1", "offset": 0, "wait_s": 5, "max_bytes": 100_000})
        assert code == 0, err
        read = json.loads(out)
    assert read["exit_code"] == 0, read
    lines = base64.b64decode(read["data"]).splitlines()
    assert "Containers" in json.loads(lines[-1])["installed"]


def test_last_contact_waits_for_its_reader_and_leaves_nothing(host: WsmanGuestHost, tmp_path: Path) -> None:
    client = connect(host, tmp_path)
    upload(client)
    stopped: list[str] = []
    host.on_power_change(lambda _vm_id, state: stopped.append(state))
    disk_folder = tmp_path / "disks" / "os"
    listener = listeners(MachineDisk.open(disk_folder))[0]
    given = {
        "sysprep_timeout_s": 60,
        "build_account": ACCOUNT,
        "certificate_thumbprint": listener.thumbprint,
        "listener_port": listener.port,
    }
    assert stage(client, START_TASK.script, {"run_id": "last", "script": GENERALIZE.script, "input": given, "timeout_s": 60})[2] == 0
    read: dict[str, Any] = {"state": "running"}
    while read["state"] == "running":
        out, err, code = stage(client, READ_OUTPUT.script, {"run_id": "last", "offset": 0, "wait_s": 5, "max_bytes": 100_000})
        assert code == 0, err
        read = json.loads(out)
    assert (read["state"], read["exit_code"]) == ("ended", 0)
    assert not stopped
    assert stage(client, REMOVE_TASK.script, {"run_id": "last"})[2] == 0
    wait_for(lambda: stopped == ["stopped"])
    disk = MachineDisk.open(disk_folder)
    assert ACCOUNT not in account_names(disk)
    assert listeners(disk) == ()
    assert not disk.path(r"C:\winvhd").exists()
    assert not answers(listener.port)


def test_second_first_contact_replaces_certificate_and_password(host: WsmanGuestHost, tmp_path: Path) -> None:
    first = connect(host, tmp_path)
    (tmp_path / "again").mkdir()
    second = connect(host, tmp_path / "again")
    assert first.transport.endpoint != second.transport.endpoint
    second.close_shell(second.open_shell(codepage=65001))
    assert len(listeners(MachineDisk.open(tmp_path / "disks" / "os"))) == 1


def test_run_command_leaves_its_status_on_the_disk_without_the_password(host: WsmanGuestHost, tmp_path: Path) -> None:
    connect(host, tmp_path)
    disk = MachineDisk.open(tmp_path / "disks" / "os")
    assert list(disk.path(HANDLER_FOLDER).rglob("*.status"))
    for path in disk.folder.rglob("*"):
        assert not path.is_file() or PASSWORD.encode() not in path.read_bytes(), path


def test_emptied_scripts_are_refused_with_what_is_missing(host: WsmanGuestHost, tmp_path: Path) -> None:
    outcome = contact(host, free_port(), "Write-Output -InputObject 'done'\n")
    assert outcome.state == "Failed"
    assert "New-SelfSignedCertificate is not called" in outcome.error
    client = connect(host, tmp_path)
    out, err, code = execute(client, encoded_command("Write-Output -InputObject 1", where="test"), b"")
    assert (out, code) == (b"", 1)
    assert b"Set-Acl is not called" in err
    upload(client)
    guest_copy = tmp_path / "disks" / "os" / "C" / "winvhd" / GET_GUEST_STATE.script
    guest_copy.unlink()
    guest_copy.write_text("<# empty #>\n")
    out, err, code = stage(client, GET_GUEST_STATE.script, {})
    assert (out, code) == (b"", 1)
    assert b"is not called" in err
    assert b"no result is written" in err


def test_script_with_a_syntax_fault_is_refused(host: WsmanGuestHost, tmp_path: Path) -> None:
    client = connect(host, tmp_path)
    upload(client)
    guest_copy = tmp_path / "disks" / "os" / "C" / "winvhd" / GET_GUEST_STATE.script
    text = guest_copy.read_text()
    guest_copy.unlink()
    guest_copy.write_text(text + "\nif (\n")
    out, err, code = stage(client, GET_GUEST_STATE.script, {})
    assert (out, code) == (b"", 1)
    assert GET_GUEST_STATE.script.encode() in err


@pytest.mark.parametrize("name", ["..\\evil.ps1", "a/b.ps1", "tool.exe"])
def test_receiver_refuses_anything_but_scripts(host: WsmanGuestHost, tmp_path: Path, name: str) -> None:
    client = connect(host, tmp_path)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, "x")
    out, _, code = execute(client, build_package().receive_command, stream.getvalue())
    assert code == 1
    assert json.loads(out)["code"] == "bad-package"
    assert not list(tmp_path.rglob("evil.ps1"))


def test_port_in_use_fails_first_contact_and_leaves_no_account(host: WsmanGuestHost, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        outcome = contact(host, taken.getsockname()[1])
    assert outcome.state == "Failed"
    assert "can not be used" in outcome.error
    assert ACCOUNT not in account_names(MachineDisk.open(tmp_path / "disks" / "os"))
