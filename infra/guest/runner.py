"""Runs one uploaded script directly, as a process of a WinRM shell, and reads its result."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain
from typing import TypeVar

import tenacity

from images.errors import StageError
from images.stages.contract import StageContract, StageInput, StageResult
from images.stages.link import GUEST_FOLDER
from infra.guest.connection import DeadlineError, GuestConnection
from infra.guest.deadline import Deadline
from infra.guest.endpoint import GuestEndpoint
from infra.guest.faults import GuestSilentError, LinkLostError, PasswordRefusedError
from infra.guest.json_lines import HINTS, STDERR_TAIL_CHARACTERS, Progress, StageOutput
from infra.guest.limits import LinkLimits
from infra.guest.package import file_command
from infra.guest.traffic import TrafficMeter
from infra.redaction import Redactor

OnProgress = Callable[[Progress], None]
T = TypeVar("T")
R = TypeVar("R", bound=StageResult)

LONGEST_PAUSE_S = 15.0
MAX_RENEWALS = 3
"""New first contacts of one link: more of them mean that two workers take the guest from each other."""


def ignore_progress(_progress: Progress) -> None:
    """For scripts whose progress nobody looks at."""


class ScriptRunner:
    """Runs scripts over one connection; a lost connection is made again within the limits."""

    def __init__(
        self, connection: GuestConnection, limits: LinkLimits, meter: TrafficMeter, renew: Callable[[], GuestEndpoint] | None = None
    ) -> None:
        self.connection = connection
        self.limits = limits
        self._meter = meter
        self._renew = renew
        self._renewals_left = MAX_RENEWALS

    def renew_password(self) -> bool:
        """Make first contact again; False when nobody said how, or when it was of no use for too many times. Raises what it raises."""
        if self._renew is None or self._renewals_left <= 0:
            return False
        self._renewals_left -= 1
        self.connection.change_endpoint(self._renew())
        self._meter.reconnect()
        return True

    def ask(self, contract: StageContract, stage_input: StageInput, kind: type[R], redact: Redactor | None = None) -> R:
        """The result of a short script that may run any number of times; raises StageError, GuestSilentError, LinkRefusedError."""
        return self.persistently(lambda: self.once(contract, stage_input, kind, redact=redact))

    def once(
        self, contract: StageContract, stage_input: StageInput, kind: type[R], *, more: Iterable[bytes] = (), redact: Redactor | None = None
    ) -> R:
        """The result of one try; raises LinkLostError when the connection does not hold. `more` follows the input, on a line of its own."""
        stdin = chain((stage_input.model_dump_json().encode(), b"\n"), more)
        command = file_command(contract.script, GUEST_FOLDER)
        result = self._try(
            contract,
            command,
            stdin,
            on_progress=ignore_progress,
            deadline=Deadline(contract.timeout_s),
            redact=redact or Redactor(),
        )
        if not isinstance(result, kind):
            raise TypeError(f"{contract.name} answers with {contract.result.__name__}, not {kind.__name__}")
        return result

    def run(
        self, contract: StageContract, stdin: bytes, on_progress: OnProgress, redact: Redactor, command: tuple[str, ...] | None = None
    ) -> StageResult:
        """The result of a stage. When the connection is lost the script is ended and started again: scripts are idempotent.

        Raises StageError, GuestSilentError, LinkRefusedError.
        """
        deadline = Deadline(contract.timeout_s)
        command = command or file_command(contract.script, GUEST_FOLDER)
        attempt = 1
        while True:
            self.persistently(self.connection.open)
            try:
                return self._try(contract, command, (stdin,), on_progress=on_progress, deadline=deadline, redact=redact)
            except PasswordRefusedError:
                if not self.renew_password():
                    raise
            except LinkLostError as error:
                if attempt >= self.limits.direct_attempts or deadline.over:
                    raise GuestSilentError(
                        f"stage {contract.name}: the connection was lost {attempt} times, at last: {error.what}",
                        where=error.where,
                        hint=error.hint or "the guest may restart in mid-stage",
                    ) from error
            attempt += 1
            self._meter.reconnect()

    def persistently(self, action: Callable[[], T]) -> T:
        """The action's result; after LinkLostError it is tried again until the limits are reached, then GuestSilentError is raised.

        A password that is refused is renewed by another first contact.
        """
        while True:
            try:
                return self._until_answered(action)
            except PasswordRefusedError:
                if not self.renew_password():
                    raise

    def _until_answered(self, action: Callable[[], T]) -> T:
        silence = Deadline(self.limits.reconnect_s)
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(LinkLostError),
            stop=tenacity.stop_before_delay(self.limits.reconnect_s),
            wait=tenacity.wait_exponential(multiplier=self.limits.reconnect_pause_s, max=LONGEST_PAUSE_S),
            sleep=tenacity.sleep_using_event(self.connection.stopping),
            before_sleep=lambda _state: self._meter.reconnect(),
            reraise=True,
        )
        try:
            return retrying(action)
        except LinkLostError as error:
            raise GuestSilentError(
                f"no contact for {silence.elapsed_s:.0f} s: {error.what}",
                where=error.where,
                hint=error.hint or "look at the VM's boot diagnostics",
            ) from error

    def _try(
        self,
        contract: StageContract,
        command: tuple[str, ...],
        stdin: Iterable[bytes],
        *,
        on_progress: OnProgress,
        deadline: Deadline,
        redact: Redactor,
    ) -> StageResult:
        output = StageOutput(contract, redact=redact)

        def take(data: bytes) -> None:
            for progress in output.feed(data):
                on_progress(progress)

        try:
            end = self.connection.run(command, stdin, take, deadline)
        except DeadlineError as error:
            raise timeout_error(contract, deadline, redact(error.stderr)) from None
        return output.result(end.exit_code, end.stderr)


def timeout_error(contract: StageContract, deadline: Deadline, stderr: str = "") -> StageError:
    """The error of a stage that did not end in the time its contract gives it."""
    return StageError(
        f"not finished after {deadline.seconds:g} s",
        stage=contract.name,
        code="timeout",
        stderr_tail=stderr[-STDERR_TAIL_CHARACTERS:],
        hint=HINTS["timeout"],
    )
