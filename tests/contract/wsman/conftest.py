"""A guest with a real disk folder and a real HTTPS listener; only the scripts' effects come from a small engine of the tests."""

from __future__ import annotations

import base64
import json
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from winrm.protocol import Protocol

from images.stages.boot import RemotingInput
from infra.local.contracts import BaseImageReference, MachineSpec, OsProfile, Outside
from infra.local.faults import Fault, FaultPlan, FaultRule, Faults
from infra.local.guest.engine import GuestMachine, ScriptContext
from infra.local.guest.host import WsmanGuestHost
from infra.local.guest.remoting import enable_remoting
from infra.local.guest.script_gate import ScriptGate
from infra.local.latency import LatencyProfile
from infra.local.machine.base import create_base_disk
from infra.local.machine.disk import MachineDisk
from infra.local.machine.model import boot

VM_ID = "/subscriptions/s/resourcegroups/rg/providers/microsoft.compute/virtualmachines/vm"
BASE = BaseImageReference("MicrosoftWindowsServer", "WindowsServer", "2022-datacenter-core-smalldisk-g2", "20348.4529.251112", "V2")
ACCOUNT = "winvhdbuild"
PASSWORD = secrets.token_urlsafe(24)
POWERSHELL = "powershell.exe"
OPTIONS = ("-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass", "-File")


class ProbeEngine:
    """Scripts for the wire: echo, a lot of output, endless waiting, a shutdown."""

    def __init__(self) -> None:
        self.disturb_network = False
        self.contexts: list[ScriptContext] = []
        self.started = threading.Event()

    def boot(self, disk: MachineDisk, *, boot_time: datetime, outbound_allowed: bool) -> GuestMachine:
        machine = boot(disk, boot_time=boot_time, outbound_allowed=outbound_allowed)
        machine.network_disturbed = self.disturb_network
        return machine

    def run(self, script: str, stage_input: dict[str, Any], ctx: ScriptContext) -> int:
        self.contexts.append(ctx)
        self.started.set()
        match script:
            case "Test-Echo.ps1":
                ctx.emit_stderr("warning: echo\n")
                ctx.emit_stdout(json.dumps({"event": "result", "input": stage_input, "elevated": ctx.elevated}, ensure_ascii=False))
            case "Test-Flood.ps1":
                for number in range(stage_input["lines"]):
                    ctx.emit_stdout(f"{number:08d} " + "x" * 90)
                    if number % 100 == 0:
                        ctx.emit_stderr(f"chatter {number}\n")
            case "Test-Wait.ps1":
                ctx.emit_stdout('{"event":"progress","message":"waiting","done":null,"total":null}')
                if not ctx.stop_event.wait(stage_input.get("seconds", 30)):
                    ctx.emit_stdout('{"event":"result","changed":false}')
                    return 0
                return 1
            case "Test-Shutdown.ps1":
                ctx.emit_stdout('{"event":"result","changed":true}')
                ctx.shutdown(bool(stage_input["restart"]), 0.1)
            case _:
                raise RuntimeError(f"the probe has no script {script}")
        return 0


@dataclass
class Guest:
    """A guest that answers, and what a client needs to know of it."""

    host: WsmanGuestHost
    engine: ProbeEngine
    disk_folder: Path
    port: int
    certificate: Path
    faults: Faults
    spec: MachineSpec
    power_changes: list[tuple[str, str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}/wsman"

    def client(self, password: str = PASSWORD, *, operation_timeout_s: int = 5) -> Protocol:
        return Protocol(
            endpoint=self.url,
            transport="basic",
            username=ACCOUNT,
            password=password,
            server_cert_validation="validate",
            ca_trust_path=str(self.certificate),
            proxy=None,
            operation_timeout_sec=operation_timeout_s,
            read_timeout_sec=operation_timeout_s + 10,
        )

    def run(self, client: Protocol, script: str, stage_input: object) -> tuple[bytes, bytes, int]:
        shell = client.open_shell(codepage=65001)
        command = client.run_command(shell, POWERSHELL, (*OPTIONS, rf"C:\winvhd\{script}"))
        client.send_command_input(shell, command, json.dumps(stage_input).encode(), end=True)
        output = client.get_command_output(shell, command)
        client.close_shell(shell)
        return output

    def put(self, name: str, text: str = "# probe\n") -> None:
        folder = self.disk_folder / "C" / "winvhd"
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")

    def fail(self, *rules: FaultRule) -> None:
        self.faults.replace(FaultPlan(rules=rules))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.01)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="session")
def base_disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "disk"
    create_base_disk(folder, BASE, 30)
    return folder


@pytest.fixture
def guest(tmp_path: Path, base_disk: Path) -> Iterator[Guest]:
    """Booted after its specialize pass, with a listener that first contact would have made."""
    yield from start_guest(tmp_path, base_disk, ScriptGate(lambda _name, _text, _module: []))


@pytest.fixture
def gated_guest(tmp_path: Path, base_disk: Path) -> Iterator[Guest]:
    """The same with the real gate."""
    yield from start_guest(tmp_path, base_disk, ScriptGate())


def start_guest(tmp_path: Path, base_disk: Path, gate: ScriptGate) -> Iterator[Guest]:
    folder = tmp_path / "disks" / "os"
    folder.parent.mkdir()
    MachineDisk.open(base_disk).copy_to(folder)
    disk, port = MachineDisk.open(folder), free_port()
    result = enable_remoting(disk, RemotingInput(address="127.0.0.1", port=port, account=ACCOUNT, nonce="n"), PASSWORD, "MINWINPC")
    disk.save()
    certificate = tmp_path / "pinned.pem"
    certificate.write_text(ssl.DER_cert_to_PEM_cert(base64.b64decode(result.certificate)))
    engine, faults = ProbeEngine(), Faults()
    host = WsmanGuestHost(folder.parent, Outside("http://127.0.0.1:9"), faults, LatencyProfile(), engine=engine, gate=gate)
    spec = MachineSpec(VM_ID, "os", "V2", False, 30, OsProfile("build-vm", "azureadmin", secrets.token_urlsafe(16)))
    guest = Guest(host, engine, folder, port, certificate, faults, spec)
    host.on_power_change(lambda vm_id, state: guest.power_changes.append((vm_id, state)))
    try:
        host.power_on(spec)
        wait_for(lambda: host.agent_ready(VM_ID))
        yield guest
    finally:
        host.close()


def rule(point: str, code: str = "dropped", **options: Any) -> FaultRule:
    return FaultRule(point=point, fault=Fault(code=code), **options)
