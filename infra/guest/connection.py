"""One guest's WinRM: runs a command with bytes on its standard input and hands its output on while it comes."""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from winrm.exceptions import WinRMOperationTimeoutError, WSManFaultError

from images.errors import GuestLinkError
from infra.guest.deadline import Deadline
from infra.guest.endpoint import GuestEndpoint
from infra.guest.faults import EXPECTED_FAILURES, STDIN_CLOSED, LinkLostError, LinkStoppedError, link_error
from infra.guest.limits import LinkLimits
from infra.guest.protocol import MAX_ENVELOPE_BYTES, GuestProtocol
from infra.guest.traffic import TrafficMeter

T = TypeVar("T")

CODEPAGE_UTF8 = 65001
ENVELOPE_BYTES = 8 * 1024
"""Room for everything in a Send request that is not the input: header, action, ids."""
STDIN_CHUNK_BYTES = (MAX_ENVELOPE_BYTES - ENVELOPE_BYTES) // 4 * 3
"""Base64 makes as much of it as MaxEnvelopeSizekb allows: 377,856 bytes in an envelope of 500 kB."""
STDERR_KEPT_BYTES = 64 * 1024


class DeadlineError(Exception):
    """The command did not end in time; it was told to stop. Holds the end of its error stream."""

    def __init__(self, stderr: str) -> None:
        self.stderr = stderr
        super().__init__("the deadline is over")


@dataclass(frozen=True)
class CommandEnd:
    """How a command ended; stderr is the end of its error stream."""

    exit_code: int
    stderr: str


class GuestConnection:
    """Keeps one connection and one shell as long as both live. For one thread at a time.

    Once `stopping` is set, by whichever thread, every request raises LinkStoppedError.
    """

    def __init__(self, endpoint: GuestEndpoint, limits: LinkLimits, meter: TrafficMeter, stopping: threading.Event) -> None:
        self.endpoint = endpoint
        self.stopping = stopping
        self._limits = limits
        self._meter = meter
        # requests wants the trusted certificate as a file. It is not a secret.
        self._folder = tempfile.TemporaryDirectory(prefix="winvhd-link-")
        self._protocol = self._new_protocol()
        self._shell: str | None = None
        self._lost_shells: list[str] = []

    def __enter__(self) -> GuestConnection:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def where(self) -> str:
        """The address of the guest's service."""
        return self.endpoint.url

    def change_endpoint(self, endpoint: GuestEndpoint) -> None:
        """Go on with what another first contact brought: its certificate alone is trusted from now on."""
        self._give_up_shell()
        self._protocol.transport.close_session()
        self.endpoint = endpoint
        self._protocol = self._new_protocol()

    def _new_protocol(self) -> GuestProtocol:
        certificate = Path(self._folder.name) / "guest.pem"
        certificate.write_text(self.endpoint.certificate, encoding="ascii")
        return GuestProtocol(self.endpoint, str(certificate), self._limits, self._meter)

    @property
    def shell_id(self) -> str | None:
        """The shell in use. It does not survive a restart: as long as it is the same one, the guest runs the same boot."""
        return self._shell

    def open(self) -> str:
        """The id of an open shell. Raises LinkLostError or LinkRefusedError."""
        if self._shell is None:
            self._end_lost_shells()
            self._shell = self._call(lambda: self._protocol.open_shell(codepage=CODEPAGE_UTF8))
            self._meter.shell()
        return self._shell

    def run(self, command: Sequence[str], stdin: Iterable[bytes], on_output: Callable[[bytes], None], deadline: Deadline) -> CommandEnd:
        """Run a command to its end; on_output gets standard output as it comes. Raises LinkLostError, LinkRefusedError, DeadlineError.

        The pieces of stdin are asked for as they go out, in envelopes as large as the guest takes.

        After LinkLostError the command may still run; the next `open` ends it together with its shell, so that a second try is alone.
        """
        shell = self.open()
        try:
            # Not a console: it is a pipe that gets bytes and then an end (WINRS_CONSOLEMODE_STDIN, [MS-WSMV] 2.2.4.22).
            command_id = self._call(lambda: self._protocol.run_command(shell, command[0], command[1:], console_mode_stdin=False))
            self._send(shell, command_id, stdin)
            end = self._receive(shell, command_id, on_output, deadline)
        except GuestLinkError:
            self._give_up_shell()
            raise
        except BaseException:
            # The deadline is over, the caller's callback failed, the user pressed Ctrl-C: nobody waits for the command any more.
            self._give_up_shell()
            with contextlib.suppress(GuestLinkError):
                self._end_lost_shells()
            raise
        # What the command said is complete by now: a connection that fails here fails the next command, not this one.
        try:
            self._call(lambda: self._protocol.cleanup_command(shell, command_id))
        except GuestLinkError:
            self._give_up_shell()
        return end

    def close(self, *, guest_is_gone: bool = False) -> None:
        """Delete the shell, unless the guest is gone, and forget the certificate. Never raises for a guest that does not answer."""
        if not guest_is_gone:
            self._give_up_shell()
            with contextlib.suppress(GuestLinkError):
                self._end_lost_shells()
        self._protocol.transport.close_session()
        self._folder.cleanup()

    def _send(self, shell: str, command_id: str, stdin: Iterable[bytes]) -> None:
        for chunk, last in _chunks(stdin):
            try:
                self._call(partial(self._protocol.send_command_input, shell, command_id, chunk, end=last))
            except LinkLostError as error:
                fault = error.__cause__
                if isinstance(fault, WSManFaultError) and fault.wsman_fault_code in STDIN_CLOSED:
                    # The command ended without reading all of its input; its output says why.
                    return
                raise

    def _receive(self, shell: str, command_id: str, on_output: Callable[[bytes], None], deadline: Deadline) -> CommandEnd:
        stderr = bytearray()
        while True:
            self._protocol.operation_timeout_sec = max(1, min(self._limits.operation_s, int(deadline.left_s)))
            stdout, error_output, exit_code, done = self._call(lambda: self._output(shell, command_id))
            self._protocol.operation_timeout_sec = self._limits.operation_s
            stderr += error_output
            del stderr[:-STDERR_KEPT_BYTES]
            if stdout:
                on_output(stdout)
            if done:
                return CommandEnd(exit_code, stderr.decode("utf-8", "replace"))
            if deadline.over:
                raise DeadlineError(stderr.decode("utf-8", "replace"))

    def _output(self, shell: str, command_id: str) -> tuple[bytes, bytes, int, bool]:
        try:
            return self._protocol.get_command_output_raw(shell, command_id)
        except WinRMOperationTimeoutError:
            # Nothing was printed for a while. That is no fault, unless nobody wants to wait any longer.
            return b"", b"", 0, False

    def _give_up_shell(self) -> None:
        if self._shell is not None:
            self._lost_shells.append(self._shell)
            self._shell = None

    def _end_lost_shells(self) -> None:
        """Deleting a shell kills what still runs in it; one that is not there any more is as good."""
        while self._lost_shells:
            shell = self._lost_shells[-1]
            try:
                self._call(partial(self._protocol.close_shell, shell, close_session=False))
            except LinkLostError as error:
                if not isinstance(error.__cause__, WSManFaultError):
                    raise
            self._lost_shells.pop()

    def _call(self, request: Callable[[], T]) -> T:
        if self.stopping.is_set():
            raise LinkStoppedError("the build was stopped", where=self.where, hint="run the build again")
        try:
            return request()
        except WinRMOperationTimeoutError as error:
            raise LinkLostError(
                "the guest did not finish a request in time", where=self.where, hint="look at the VM's boot diagnostics"
            ) from error
        except EXPECTED_FAILURES as error:
            if not isinstance(error, WSManFaultError):
                # A connection that may have half an answer on it must not carry the next request.
                self._protocol.transport.close_session()
            raise link_error(error, self.where) from error


def _chunks(pieces: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    """The same bytes in chunks of STDIN_CHUNK_BYTES, each with whether it is the last one; an empty input is one empty chunk."""
    waiting = bytearray()
    for piece in pieces:
        waiting += piece
        # More than a chunk: what is left makes sure that this one is not the last.
        while len(waiting) > STDIN_CHUNK_BYTES:
            yield bytes(waiting[:STDIN_CHUNK_BYTES]), False
            del waiting[:STDIN_CHUNK_BYTES]
    yield bytes(waiting), True
