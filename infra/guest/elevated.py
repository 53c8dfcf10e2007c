"""Runs a stage as a scheduled task of SYSTEM and follows its output by offset: lost connections and dead workers lose nothing."""

from __future__ import annotations

import base64
import binascii
import contextlib
import time

from images.errors import GuestLinkError, StageError
from images.stages.contract import StageContract, StageInput, StageResult
from images.stages.link import (
    READ_OUTPUT,
    REMOVE_TASK,
    START_TASK,
    ReadOutputInput,
    ReadOutputResult,
    RemoveTaskInput,
    StartTaskInput,
    StartTaskResult,
)
from infra.guest.clixml import readable
from infra.guest.deadline import Deadline
from infra.guest.json_lines import StageOutput
from infra.guest.runner import OnProgress, ScriptRunner, timeout_error
from infra.redaction import Redactor

PAUSE_SHARE = 0.02
"""A look at the output starts a process on the guest; the pause between looks grows to this share of the time that passed."""

_READ_HINT = "did something change the files below C:\\winvhd\\runs while the stage ran? Run the build again"


class ElevatedRun:
    """One stage as a task. Its name is the run id's, so whoever knows the run id can go on following it."""

    def __init__(
        self,
        runner: ScriptRunner,
        contract: StageContract,
        stage_input: StageInput,
        *,
        run_id: str,
        on_progress: OnProgress,
        redact: Redactor,
    ) -> None:
        self._runner = runner
        self._contract = contract
        self._first_run_id = run_id
        self._input = stage_input.model_dump(mode="json")
        self._on_progress = on_progress
        self._redact = redact
        self._output = StageOutput(contract, redact=redact)
        self._offset = 0
        self._starts = 0
        self._is_ours = False
        self._time_limit = Deadline(contract.timeout_s)
        self._deadline = Deadline(contract.timeout_s + runner.limits.task_grace_s)

    def result(self, *, is_last_contact: bool = False) -> StageResult:
        """The stage's result; raises StageError, GuestSilentError, LinkRefusedError.

        A run that was started before, by this worker or by one that died, is followed from its first line and not started again.
        With is_last_contact the guest goes away as soon as it knows that its result was read, so that this may fail.
        """
        self._start()
        try:
            end = self._follow()
            result = self._output.result(end.exit_code, end.stderr_tail)
        except StageError as error:
            # The first error counts, whatever the guest says to this.
            with contextlib.suppress(GuestLinkError, StageError):
                self._remove(stop=error.code == "timeout")
            raise
        if is_last_contact:
            with contextlib.suppress(GuestLinkError, StageError):
                self._runner.once(REMOVE_TASK, RemoveTaskInput(run_id=self._run_id), StageResult)
        else:
            self._remove()
        return result

    @property
    def _run_id(self) -> str:
        # A run id runs once, so a run that the guest lost goes on under the next name, the same one for every worker.
        return self._first_run_id if self._starts <= 1 else f"{self._first_run_id}-{self._starts}"

    def _start(self) -> None:
        self._starts += 1
        start = StartTaskInput(run_id=self._run_id, script=self._contract.script, input=self._input, timeout_s=self._contract.timeout_s)
        self._is_ours = self._runner.ask(START_TASK, start, StartTaskResult, self._redact).started

    def _remove(self, *, stop: bool = False) -> None:
        self._runner.ask(REMOVE_TASK, RemoveTaskInput(run_id=self._run_id, stop=stop), StageResult)

    def _follow(self) -> ReadOutputResult:
        while True:
            read, data = self._read()
            for progress in self._output.feed(data):
                self._on_progress(progress)
            if read.state == "ended" and (not data or (self._output.finished and len(data) < self._runner.limits.read_bytes)):
                if not self._was_lost(read):
                    return read
                self._start_again(read)
            elif read.state == "unknown":
                self._start_again(read)
            if self._deadline.over:
                raise timeout_error(self._contract, self._time_limit, self._last_words())
            if data and read.state == "running":
                time.sleep(min(self._runner.limits.poll_pause_s, PAUSE_SHARE * self._deadline.elapsed_s))

    def _read(self) -> tuple[ReadOutputResult, bytes]:
        limits = self._runner.limits
        question = ReadOutputInput(
            run_id=self._run_id,
            offset=self._offset,
            wait_s=round(min(limits.poll_s, self._deadline.left_s), 3),
            max_bytes=limits.read_bytes,
        )
        read = self._runner.ask(READ_OUTPUT, question, ReadOutputResult, self._redact)
        try:
            data = base64.b64decode(read.data, validate=True)
        except binascii.Error as error:
            raise StageError("the output does not arrive as base64", stage=READ_OUTPUT.name, code="bad-result", hint=_READ_HINT) from error
        if read.next_offset != self._offset + len(data):
            what = f"asked from byte {self._offset}, got {len(data)} bytes, told to go on at {read.next_offset}"
            raise StageError(what, stage=READ_OUTPUT.name, code="bad-result", hint=_READ_HINT)
        self._offset = read.next_offset
        return read, data

    def _last_words(self) -> str:
        """The end of the error stream of a run that does not end."""
        question = ReadOutputInput(run_id=self._run_id, offset=self._offset, wait_s=0, max_bytes=1, with_errors=True)
        try:
            return self._redact(readable(self._runner.once(READ_OUTPUT, question, ReadOutputResult).stderr_tail))
        except (GuestLinkError, StageError):
            return ""

    def _was_lost(self, read: ReadOutputResult) -> bool:
        """True for a run that ended without having been run: it was cut off, or whoever started it died before it got its input."""
        if self._output.finished:
            return False
        return read.exit_code is None or (not self._is_ours and read.exit_code != 0 and self._offset == 0)

    def _start_again(self, read: ReadOutputResult) -> None:
        """The guest lost the run: it restarted in mid-stage, or somebody ended the task. Scripts are idempotent, so run it again."""
        if self._starts >= self._runner.limits.task_starts:
            raise StageError(
                f"the guest lost the run {self._starts} times before it ended",
                stage=self._contract.name,
                code="run-lost",
                stderr_tail=self._redact(read.stderr_tail),
                hint="it restarts in mid-stage, or something ends the task",
            )
        with contextlib.suppress(StageError):
            self._remove()
        self._output = StageOutput(self._contract, redact=self._redact)
        self._offset = 0
        self._start()
