"""Windows Remote Shells: what [MS-WSMV] 3.1.4.5 lets a client do with a shell and its commands."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from infra.local.guest.process import GuestProcess
from infra.local.guest.wsman import faults

DEFAULT_IDLE_TIMEOUT_S = 7200.0
"""winrm/config/winrs IdleTimeout, 7,200,000 ms."""
MAX_SHELLS_PER_USER = 30
"""winrm/config/winrs MaxShellsPerUser."""
MAX_PROCESSES_PER_SHELL = 25
"""winrm/config/winrs MaxProcessesPerShell."""


@dataclass(frozen=True)
class ShellRequest:
    """What a client asked for when it made a shell."""

    owner: str
    codepage: int = 437
    idle_timeout_s: float = DEFAULT_IDLE_TIMEOUT_S
    working_directory: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    input_streams: str = "stdin"
    output_streams: str = "stdout stderr"


@dataclass(frozen=True)
class CommandRequest:
    """A command for a shell: the command line as the client's parts give it."""

    command_line: str
    skip_cmd_shell: bool


class CommandRunner(Protocol):
    """The guest's process layer."""

    def start(self, command: CommandRequest, shell: ShellRequest) -> GuestProcess:
        """A started process with a network token."""
        ...


@dataclass
class Shell:
    """A shell that exists; its commands end with it."""

    shell_id: str
    request: ShellRequest
    created: float
    last_used: float
    commands: dict[str, GuestProcess] = field(default_factory=dict)


class ShellTable:
    """The shells of one WinRM service. Used from the network thread only, so it needs no lock."""

    def __init__(self, runner: CommandRunner) -> None:
        self._runner = runner
        self._shells: dict[str, Shell] = {}

    def create(self, request: ShellRequest, shell_id: str | None = None) -> Shell:
        """A new shell; raises a quota fault when the user has too many."""
        if sum(shell.request.owner == request.owner for shell in self._shells.values()) >= MAX_SHELLS_PER_USER:
            raise faults.quota_shells(MAX_SHELLS_PER_USER)
        now = time.monotonic()
        shell = Shell((shell_id or str(uuid.uuid4())).upper(), request, now, now)
        self._shells[shell.shell_id] = shell
        return shell

    def find(self, shell_id: str, owner: str) -> Shell:
        """The user's shell with this id, marked as used; raises the fault for an unknown one, also when it belongs to somebody else."""
        self.delete_idle()
        shell = self._shells.get(shell_id.upper())
        if shell is None or shell.request.owner.lower() != owner.lower():
            raise faults.shell_not_found(shell_id)
        shell.last_used = time.monotonic()
        return shell

    def command(self, shell: Shell, command_id: str) -> GuestProcess:
        """The shell's command; raises the fault for an unknown one."""
        process = shell.commands.get(command_id.upper())
        if process is None:
            raise faults.command_not_found(command_id)
        return process

    def run(self, shell: Shell, command: CommandRequest, command_id: str | None = None) -> str:
        """Start a command and return its id; raises a quota fault when too many are running."""
        if sum(process.exit_code is None for process in shell.commands.values()) >= MAX_PROCESSES_PER_SHELL:
            raise faults.quota_commands(MAX_PROCESSES_PER_SHELL)
        name = (command_id or str(uuid.uuid4())).upper()
        shell.commands[name] = self._runner.start(command, shell.request)
        return name

    def end_command(self, shell: Shell, command_id: str) -> None:
        """Kill a command when it still runs and forget it (signal terminate)."""
        self.command(shell, command_id).kill()
        del shell.commands[command_id.upper()]

    def delete(self, shell: Shell) -> None:
        """Delete a shell; its commands are killed, as Windows kills the shell's job object."""
        del self._shells[shell.shell_id]
        for process in shell.commands.values():
            process.kill()

    def delete_idle(self) -> None:
        """Delete the shells that nobody used for their idle timeout."""
        now = time.monotonic()
        for shell in [shell for shell in self._shells.values() if now - shell.last_used > shell.request.idle_timeout_s]:
            self.delete(shell)

    def delete_all(self) -> None:
        """Delete every shell: WinRM stops."""
        for shell in list(self._shells.values()):
            self.delete(shell)
