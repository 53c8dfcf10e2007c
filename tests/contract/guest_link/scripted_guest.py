"""A guest whose scripts are Python functions of the test: real TLS, real WS-Management, and faults at chosen requests."""

from __future__ import annotations

import asyncio
import base64
import datetime
import ipaddress
import json
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from images.stages.link import READ_OUTPUT, REMOVE_TASK, START_TASK, ReadOutputInput, StartTaskInput
from images.stages.system import GET_GUEST_STATE, RESTART_GUEST
from infra.guest.endpoint import GuestEndpoint
from infra.local.guest.command_line import EncodedScript, Refused, parse
from infra.local.guest.process import GuestProcess
from infra.local.guest.wsman.authentication import BasicAuthentication
from infra.local.guest.wsman.faults import WsmanFault
from infra.local.guest.wsman.listener import WsmanListener
from infra.local.guest.wsman.service import Answer, WinRmService
from infra.local.guest.wsman.shells import CommandRequest, ShellRequest, ShellTable
from infra.local.guest.wsman.soap import Request

ACCOUNT, PASSWORD = "winvhd-build", "Correct-Horse-1"
T = TypeVar("T")

Script = Callable[[GuestProcess, dict[str, Any]], int]


@dataclass
class Fault:
    """Strikes the request with this action (Create, Command, Send, Receive, Signal, Delete) once, after `skip` of them passed."""

    action: str
    kind: Literal["before", "after"] | WsmanFault
    """before: the guest never sees the request; after: it acts on it and the answer is lost."""
    skip: int = 0


@dataclass(frozen=True)
class Identity:
    """A self-signed certificate for an address, and its key, both PEM."""

    certificate: str
    key: str
    thumbprint: str


def identity(address: str = "127.0.0.1", *, ahead: datetime.timedelta = datetime.timedelta()) -> Identity:
    """A fresh one, made by a clock that is so far ahead; valid as long as Enable-BuildRemoting.ps1 makes it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "guest")])
    now = datetime.datetime.now(datetime.UTC) + ahead
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Identity(
        certificate.public_bytes(serialization.Encoding.PEM).decode(),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode(),
        certificate.fingerprint(hashes.SHA1()).hex().upper(),
    )


class _FaultyService(WinRmService):
    faults: list[Fault]
    requests: list[str]

    async def handle(self, request: Request, user: str) -> Answer:
        action = request.action.rpartition("/")[2]
        self.requests.append(action)
        fault = self._due(action)
        if fault is not None and fault.kind != "after":
            raise ConnectionResetError("before") if fault.kind == "before" else fault.kind
        answer = await super().handle(request, user)
        if fault is not None:
            raise ConnectionResetError("after")
        return answer

    def _due(self, action: str) -> Fault | None:
        for fault in self.faults:
            if fault.action == action:
                if fault.skip == 0:
                    self.faults.remove(fault)
                    return fault
                fault.skip -= 1
                return None
        return None


@dataclass
class _Run:
    output: bytearray = field(default_factory=bytearray)
    error: bytearray = field(default_factory=bytearray)
    exit_code: int | None = None
    lost: bool = False


class ScriptedGuest:
    """Context manager; `scripts` maps file names to functions and may be changed at any time."""

    def __init__(self) -> None:
        self.scripts: dict[str, Script] = {
            START_TASK.script: self._start_task,
            READ_OUTPUT.script: self._read_output,
            REMOVE_TASK.script: self._remove_task,
            GET_GUEST_STATE.script: self._state,
            RESTART_GUEST.script: self._restart,
        }
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self.packages: list[bytes] = []
        self.starts: list[str] = []
        """Each start of a script as "name", "name (SYSTEM)" for those in a task."""
        self.boots = 1
        self.boot_time_drifts = False
        self.unstable_looks = 0
        self.restart_deaf = 0
        """So many requests for a restart are answered and not followed."""
        self.deaf_restarts_winrm = False
        self.restart_s = 0.05
        self.half_starts = 0
        """So many starts get no further than to make the task, which then waits in vain for its input."""
        self.read_files: list[str] = []
        self.identity = identity()
        self._runs: dict[str, _Run] = {}
        self._changed = threading.Condition()
        self._is_up = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._processes: list[GuestProcess] = []
        self._restarts: list[threading.Thread] = []
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])

    def __enter__(self) -> ScriptedGuest:
        self._thread.start()
        self.up()
        return self

    def __exit__(self, *_error: object) -> None:
        for thread in self._restarts:
            thread.join(10)
        self.down()
        for process in self._processes:
            process.kill()
            process.join(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @property
    def endpoint(self) -> GuestEndpoint:
        return GuestEndpoint(
            address="127.0.0.1",
            port=self.port,
            certificate=self.identity.certificate,
            thumbprint=self.identity.thumbprint,
            account=ACCOUNT,
            password=SecretStr(PASSWORD),
        )

    def up(self) -> None:
        """Open the listener, on the same port as before."""
        self._is_up = True
        self._service = _FaultyService(ShellTable(self), computer_name="GUEST", product_version="10.0.20348", max_envelope_kb=500)
        self._service.faults, self._service.requests = self.faults, self.requests
        scheme = BasicAuthentication(lambda user, password: (user, password) == (ACCOUNT, PASSWORD), "GUEST")
        self._listener = WsmanListener(self._service, [scheme], lambda _request: False)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.TemporaryDirectory() as folder:
            chain = Path(folder) / "chain.pem"
            chain.write_text(self.identity.certificate + self.identity.key)
            context.load_cert_chain(chain)
        self._call(self._listener.open(self.port, context))

    def down(self) -> None:
        """Close the listener: every shell dies, and so does every task whose run has not ended."""
        if self._is_up:
            self._is_up = False
            self._call(self._listener.close())

    def restart_winrm(self) -> None:
        """The shells end, the boot goes on."""
        self.down()
        self.up()

    def reboot(self) -> None:
        """Down, forget what runs, up with a new boot time."""
        self.down()
        for run in self._runs.values():
            run.lost = run.lost or run.exit_code is None
        self.boots += 1
        time.sleep(self.restart_s)
        self.up()

    def reboot_soon(self) -> None:
        """Reboot from another thread, as a script's own shutdown does."""
        thread = threading.Timer(0.1, self.reboot)
        self._restarts.append(thread)
        thread.start()

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def start(self, command: CommandRequest, shell: ShellRequest) -> GuestProcess:
        """The process layer that the shells ask."""
        assert shell.codepage == 65001
        asked = parse(command.command_line, through_cmd=not command.skip_cmd_shell)

        def main(process: GuestProcess) -> int:
            assert not isinstance(asked, Refused), asked
            if isinstance(asked, EncodedScript):
                data = process.read_stdin()
                if data is None:
                    return 1
                self.packages.append(data)
                return say(process, event="result", changed=True, reboot_required=False)
            name = asked.path.rpartition("\\")[2]
            self.starts.append(name)
            return self._run_script(name, process)

        return self._launch(main)

    def _launch(self, main: Callable[[GuestProcess], int]) -> GuestProcess:
        process = GuestProcess(main, "scripted guest")
        self._processes.append(process)
        return process.start()

    def _run_script(self, name: str, process: GuestProcess) -> int:
        data = process.read_stdin()
        return 1 if data is None else self.scripts[name](process, json.loads(data))

    def _start_task(self, process: GuestProcess, stage_input: dict[str, Any]) -> int:
        wanted = StartTaskInput.model_validate(stage_input)
        started = wanted.run_id not in self._runs
        if started and self.half_starts > 0:
            self.half_starts -= 1
            self._runs[wanted.run_id] = _Run(error=bytearray(b"the pipe was closed"), exit_code=1)
            process.stop_event.wait(10)
            return 1
        if started:
            run = self._runs[wanted.run_id] = _Run()
            self.starts.append(f"{wanted.script} (SYSTEM)")
            self._launch(lambda inner: self._run_task(wanted, inner, run))
        return say(process, event="result", changed=started, started=started, task_name=f"winvhd-{wanted.run_id}")

    def _run_task(self, wanted: StartTaskInput, process: GuestProcess, run: _Run) -> int:
        exit_code = self.scripts[wanted.script](_Recorder(process, run, self._changed), wanted.input)
        with self._changed:
            run.exit_code = None if run.lost else exit_code
            self._changed.notify_all()
        return exit_code

    def _read_output(self, process: GuestProcess, stage_input: dict[str, Any]) -> int:
        wanted = ReadOutputInput.model_validate(stage_input)
        run = self._runs.get(wanted.run_id)
        with self._changed:
            if run is not None:
                self._changed.wait_for(lambda: run.lost or run.exit_code is not None or len(run.output) > wanted.offset, wanted.wait_s)
            data = bytes(run.output[wanted.offset : wanted.offset + wanted.max_bytes]) if run else b""
            ended = run is not None and run.exit_code is not None
            return say(
                process,
                event="result",
                changed=False,
                data=base64.b64encode(data).decode(),
                next_offset=wanted.offset + len(data),
                state="unknown" if run is None or run.lost else "ended" if ended else "running",
                exit_code=run.exit_code if run else None,
                stderr_tail=run.error.decode() if run and ended else "",
            )

    def _remove_task(self, process: GuestProcess, stage_input: dict[str, Any]) -> int:
        self.read_files.append(stage_input["run_id"])
        return say(process, event="result", changed=True)

    def _state(self, process: GuestProcess, _stage_input: dict[str, Any]) -> int:
        stable = self.unstable_looks <= 0
        self.unstable_looks -= 1
        drift = f".{len(self.starts):03}" if self.boot_time_drifts else ""
        return say(
            process,
            event="result",
            changed=False,
            boot_time=f"2026-08-11T00:00:{self.boots:02}{drift}Z",
            computer_name="GUEST",
            os_build="20348.4052",
            pending_reboot=False,
            free_bytes=1,
            services_stable=stable,
        )

    def _restart(self, process: GuestProcess, _stage_input: dict[str, Any]) -> int:
        action: Callable[[], None] = self.reboot
        if self.restart_deaf > 0:
            self.restart_deaf -= 1
            action = self.restart_winrm if self.deaf_restarts_winrm else lambda: None
        thread = threading.Timer(0.1, action)
        self._restarts.append(thread)
        thread.start()
        return say(process, event="result", changed=True, boot_time=f"2026-08-11T00:00:{self.boots:02}Z")


class _Recorder(GuestProcess):
    """The standard streams of a task: they go to the run, not to a shell."""

    def __init__(self, process: GuestProcess, run: _Run, changed: threading.Condition) -> None:
        super().__init__(lambda _process: 0, "recorder")
        self.stop_event = process.stop_event
        self._run_of_task, self._run_changed = run, changed

    def write(self, stream: str, data: bytes) -> None:
        with self._run_changed:
            (self._run_of_task.output if stream == "stdout" else self._run_of_task.error).extend(data)
            self._run_changed.notify_all()


def say(process: GuestProcess, **event: object) -> int:
    """Print one JSON line; gives 0, the exit code of a script that ends with it."""
    process.write_line(json.dumps(event))
    return 0
