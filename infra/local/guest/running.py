r"""A booted guest: what starts processes in it, in a WinRM shell, as a task, or through Run Command."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

from images.errors import Problem
from images.stages.finish import GENERALIZE
from images.stages.link import GUEST_FOLDER, RECEIVE_FILE
from infra.guest.package import RECEIVER
from infra.guest.powershell_syntax import MODULE_NAME
from infra.local.guest.command_line import EncodedScript, Refused, ScriptFile, parse
from infra.local.guest.engine import FaultSource, GuestMachine, Latency, ScriptContext, ScriptEngine
from infra.local.guest.file_transfer import receive_file
from infra.local.guest.link_scripts import LINK_SCRIPTS, receive_package
from infra.local.guest.process import KILLED, GuestProcess
from infra.local.guest.scheduled_tasks import TaskRuns
from infra.local.guest.script_gate import ScriptGate
from infra.local.guest.wsman.shells import CommandRequest, ShellRequest

LOG = logging.getLogger(__name__)

FILE_NOT_FOUND_EXIT = 0xFFFD0000
"""powershell.exe -File with a file that does not exist exits with -196608."""
SCRIPT_FAILED = 1
STOP_TIMEOUT_S = 5.0
UTF8_CODEPAGE = 65001


class RunningGuest:
    """One boot of one machine; when it ends, everything here ends."""

    def __init__(
        self,
        vm_id: str,
        machine: GuestMachine,
        engine: ScriptEngine,
        gate: ScriptGate,
        faults: FaultSource,
        shutdown: Callable[[bool, float], None],
        latency: Latency,
    ) -> None:
        self.vm_id = vm_id
        self.machine = machine
        self.engine = engine
        self.gate = gate
        self.tasks = TaskRuns(machine.disk)
        self.shutdown = shutdown
        """shutdown(restart, delay_s), as in ScriptContext."""
        self._faults = faults
        self._latency = latency
        self._processes: set[GuestProcess] = set()
        self._lock = threading.Lock()
        self._over = False

    def launch(self, main: Callable[[GuestProcess], int], name: str) -> GuestProcess:
        """A started process that ends with this boot at the latest; an error of the model becomes one of the script."""

        def guarded(process: GuestProcess) -> int:
            try:
                return self.guarded(main, process)
            finally:
                with self._lock:
                    self._processes.discard(process)

        process = GuestProcess(guarded, name)
        with self._lock:
            self._processes.add(process)
            over = self._over
        process.start()
        if over:
            process.kill()
        return process

    def guarded(self, main: Callable[[GuestProcess], int], process: GuestProcess) -> int:
        """main's exit code; what it raises goes to the guest's error stream, as PowerShell shows an error that ends a script."""
        try:
            return main(process)
        except Exception as error:
            if process.stop_event.is_set():
                return KILLED
            LOG.exception("a script of %s ended with an error", self.vm_id)
            process.write_error(f"{type(error).__name__}: {error}\r\n")
            return SCRIPT_FAILED

    def start(self, command: CommandRequest, shell: ShellRequest) -> GuestProcess:
        """A command of a WinRM shell: a network token, killed with its shell."""
        asked = parse(command.command_line, through_cmd=not command.skip_cmd_shell)

        def main(process: GuestProcess) -> int:
            match asked:
                case Refused(message, exit_code):
                    process.write_error(message)
                    return exit_code
                case EncodedScript(text):
                    return self._receive(text, process)
                case ScriptFile(path):
                    return self._script_file(path, process)

        if shell.codepage != UTF8_CODEPAGE and not isinstance(asked, Refused):
            return self.launch(_wrong_codepage, "winrs")
        return self.launch(main, "winrs")

    def _receive(self, text: str, process: GuestProcess) -> int:
        # Comments do not travel on a command line, so their absence is no fault there.
        refusal = self.gate.refusal(RECEIVER, text, "", accept=_is_about_comments)
        if refusal:
            process.write_error(refusal)
            return SCRIPT_FAILED
        data = process.read_stdin()
        if data is None:
            return KILLED
        self._latency.wait("guest.package", process.stop_event)
        return receive_package(self.machine, data, process)

    def _script_file(self, path: str, process: GuestProcess) -> int:
        name = self.script_name(path)
        if name is None:
            process.write_error(
                f"The argument '{path}' to the -File parameter does not exist. Provide the path to an existing '.ps1' file as an argument "
                "to the -File parameter.\r\n"
            )
            return FILE_NOT_FOUND_EXIT
        if name == RECEIVE_FILE.script:
            # Not one JSON object: a file comes behind it, and what came counts although the rest never does.
            refusal = self.refusal(name)
            process.write_error(refusal)
            return SCRIPT_FAILED if refusal else receive_file(self.machine, process)
        data = process.read_stdin()
        if data is None:
            return KILLED
        return self.run_script(name, data, process, elevated=False)

    def script_name(self, path: str) -> str | None:
        r"""The name of a script directly below C:\winvhd, as it is spelt on the disk; None when there is none."""
        folder, _, name = path.replace("/", "\\").rpartition("\\")
        if folder.lower() != GUEST_FOLDER.lower() or not name.lower().endswith(".ps1"):
            return None
        file = self.machine.disk.path(rf"{GUEST_FOLDER}\{name}")
        return file.name if file.is_file() else None

    def refusal(self, name: str) -> str:
        """Why this guest's own copy of a script must not run; empty when it may."""
        return self.gate.refusal(name, self._text(name), self._text(MODULE_NAME))

    def _text(self, name: str) -> str:
        file = self.machine.disk.path(rf"{GUEST_FOLDER}\{name}")
        return file.read_text(encoding="utf-8-sig") if file.is_file() else ""

    def run_script(self, name: str, stdin: bytes, process: GuestProcess, *, elevated: bool, run_id: str | None = None) -> int:
        """The exit code of a script of this guest, after the gate."""
        refusal = self.refusal(name)
        if refusal:
            process.write_error(refusal)
            return SCRIPT_FAILED
        try:
            stage_input = json.loads(stdin.decode("utf-8-sig"))
        except ValueError as error:
            process.write_error(f"ConvertFrom-Json : Invalid JSON primitive: standard input is not one JSON object ({error}).\r\n")
            return SCRIPT_FAILED
        if not isinstance(stage_input, dict):
            process.write_error("standard input holds no JSON object\r\n")
            return SCRIPT_FAILED
        link_script = LINK_SCRIPTS.get(name)
        if link_script is not None:
            return link_script(self, stage_input, process)
        return self.run_engine(name, stage_input, process, elevated=elevated, run_id=run_id)

    def run_engine(
        self,
        name: str,
        stage_input: dict[str, Any],
        process: GuestProcess,
        *,
        elevated: bool,
        run_id: str | None = None,
        parameters: Mapping[str, str] | None = None,
    ) -> int:
        """Hand a script to the machine model and save the disk afterwards."""
        if fault := self._faults.should("guest.reboot-mid-stage", f"{name} {self.vm_id}"):
            LOG.info("fault %s strikes %s in %s", fault.code, self.vm_id, name)
            self.shutdown(True, 0)
            process.stop_event.wait(STOP_TIMEOUT_S)
            return KILLED

        def emit(line: str) -> None:
            process.write_line(line)
            # The last contact removes its own folder: how it ended must be known before, while it waits for somebody to read it.
            if run_id is not None and name == GENERALIZE.script and _is_result(line):
                self.tasks.wait_for_reader(run_id)

        context = ScriptContext(
            machine=self.machine,
            elevated=elevated,
            stop_event=process.stop_event,
            emit_stdout=emit,
            emit_stderr=process.write_error,
            shutdown=self.shutdown,
            vm_id=self.vm_id,
            run_id=run_id,
            parameters=parameters or {},
            running_tasks=self.tasks.running,
        )
        exit_code = self.engine.run(name, stage_input, context)
        self.save()
        return exit_code

    def start_task(self, run_id: str, name: str, stdin: bytes, timeout_s: float) -> bool:
        """Start a script as SYSTEM, outside of every shell; False when the run_id was started before."""

        def main(process: GuestProcess) -> int:
            data = process.read_stdin()
            return KILLED if data is None else self.run_script(name, data, process, elevated=True, run_id=run_id)

        return self.tasks.start(run_id, lambda process: self.guarded(main, process), stdin, timeout_s)

    def save(self) -> None:
        """Write the registry to the disk's folder, as long as this boot lasts."""
        with self.machine.lock:
            if not self._over:
                self.machine.disk.save()

    def stop(self) -> None:
        """The end of this boot: processes and tasks are cut off, the disk is saved a last time."""
        with self._lock:
            processes = list(self._processes)
        for process in processes:
            process.kill()
        self.tasks.stop(STOP_TIMEOUT_S)
        for process in processes:
            if not process.join(STOP_TIMEOUT_S):
                LOG.warning("a process of %s did not stop within %s s", self.vm_id, STOP_TIMEOUT_S)
        with self.machine.lock:
            self.machine.disk.save()
            self._over = True


def _wrong_codepage(process: GuestProcess) -> int:
    process.write_error("the contract's streams are UTF-8: open the shell with codepage 65001\r\n")
    return SCRIPT_FAILED


def _is_about_comments(problem: Problem) -> bool:
    return problem.message.startswith("comment-based help")


def _is_result(line: str) -> bool:
    try:
        event = json.loads(line)
    except ValueError:
        return False
    return isinstance(event, dict) and event.get("event") == "result"
