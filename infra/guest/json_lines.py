"""Reads what a stage's script writes: JSON lines in as bytes, progress out as it comes, one result at the end. No I/O in here."""

from __future__ import annotations

import json
from collections.abc import Iterator

from pydantic import Field, JsonValue, ValidationError

from images.errors import StageError
from images.frozen import Frozen
from images.stages.contract import StageContract, StageResult
from infra.guest.clixml import readable
from infra.redaction import Redactor

MAX_LINE_BYTES = 64 * 1024 * 1024
"""A result may list every file of an image; a longer line is not kept and fails the stage."""

MAX_MESSAGE_CHARACTERS = 2000
STDERR_TAIL_CHARACTERS = 4096
_SHOWN_CHARACTERS = 200

HINTS = {
    "disk-full": "C: is full; raise os_disk_gib or take something out of the definition",
    "file-locked": "another program on the guest has the file open; the message names it",
    "containerd-stopped": "the runtime's own log on the guest says why: Get-WinEvent -LogName Application",
    "download-failed": "the guest does not reach the address, or the connection broke; a network rule or a proxy may stand between",
    "manifest-unknown": "the registry no longer has what the lock names: run `winvhd lock` for the image and look at what moved",
    "hash-mismatch": "the bytes are not those the lock promises; nothing was kept of them",
    "unknown-feature": "this Windows version does not have that feature",
    "update-failed": "C:\\Windows\\Logs\\CBS\\CBS.log on the guest says why; is the update for this Windows build?",
    "update-not-offered": "the KB is for another Windows, withdrawn, or part of a newer one: give the URL of its .msu or .cab",
    "sysprep-stuck": "read setupact.log and setuperr.log of the stopped disk",
    "timeout": "the guest still answered: the script hangs or needs more time than its contract gives",
}
"""What a reader can do about the codes that scripts give in their error line."""


class Progress(Frozen):
    """How far a stage is: a message, and items or bytes done of total where the script knows them."""

    message: str
    done: int | None = None
    total: int | None = None


class _Progress(Progress):
    event: str


class _Failure(Frozen):
    event: str
    code: str = Field(max_length=100)
    message: str


class StageOutput:
    """Collects one run's output; `feed` it bytes of any cut, then ask for the `result`."""

    def __init__(self, contract: StageContract, *, redact: Redactor | None = None, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._contract = contract
        self._redact = redact or Redactor()
        self._max_line_bytes = max_line_bytes
        self._line = bytearray()
        self._dropping = False
        self._lines = 0
        self._results: list[bytes] = []
        self._result_count = 0
        self._failure: _Failure | None = None
        self._fault = ""
        self._fault_code = ""

    @property
    def finished(self) -> bool:
        """True when the line that ends a run, result or error, has been seen."""
        return self._result_count > 0 or self._failure is not None

    def feed(self, data: bytes) -> list[Progress]:
        """The progress that these bytes complete, in order."""
        progress: list[Progress] = []
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            self._append(data[start:end])
            start = end + 1
            progress += self._end_line()
        self._append(data[start:])
        return progress

    def result(self, exit_code: int | None, stderr: str) -> StageResult:
        """The stage's result; raises StageError when there is none, when there is more than one or when the exit code contradicts it."""
        list(self._end_line())  # the last line may have no line feed
        stderr_tail = self._redact(readable(stderr))[-STDERR_TAIL_CHARACTERS:]
        if self._failure is not None:
            code = self._failure.code
            raise self._error(self._clean(self._failure.message), code, exit_code, stderr_tail, HINTS.get(code, ""))
        if self._fault:
            raise self._error(self._fault, self._fault_code, exit_code, stderr_tail, "standard output belongs to JSON lines alone")
        if self._result_count > 1:
            raise self._error(f"{self._result_count} result lines, one is allowed", "two-results", exit_code, stderr_tail)
        if not self._result_count:
            raise self._error(_ended(exit_code), "no-result", exit_code, stderr_tail, _last_line(stderr_tail))
        if exit_code != 0:
            what = f"a result line, but the script {_exit_text(exit_code)}"
            raise self._error(what, "result-with-failure", exit_code, stderr_tail, _last_line(stderr_tail))
        return self._validated(self._results[0], exit_code, stderr_tail)

    def _validated(self, line: bytes, exit_code: int | None, stderr_tail: str) -> StageResult:
        fields = json.loads(line)
        del fields["event"]
        try:
            # Strict: a number that a script writes as text is a fault of the script, found here and not three tasks later.
            return self._contract.result.model_validate_json(json.dumps(fields), strict=True)
        except ValidationError as error:
            found = error.errors(include_input=False)[:5]
            problems = "; ".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in found)
            what = f"the result is not what the contract says: {problems}"
        raise self._error(what, "bad-result", exit_code, stderr_tail)

    def _append(self, piece: bytes) -> None:
        if self._dropping or not piece:
            return
        if len(self._line) + len(piece) > self._max_line_bytes:
            self._note_fault(f"a line of more than {self._max_line_bytes} bytes", "line-too-long", bytes(self._line[:_SHOWN_CHARACTERS]))
            self._line.clear()
            self._dropping = True
            return
        self._line += piece

    def _end_line(self) -> Iterator[Progress]:
        line, dropped = bytes(self._line), self._dropping
        self._line.clear()
        self._dropping = False
        self._lines += 1
        if self._lines == 1:
            # .NET writes a byte order mark when the console's encoding is UTF-8.
            line = line.removeprefix(b"\xef\xbb\xbf")
        line = line.strip()
        if dropped or not line:
            return
        try:
            event: JsonValue = json.loads(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            self._note_fault(f"line {self._lines} is not UTF-8 (byte 0x{line[error.start]:02x} at {error.start})", "not-utf-8", line)
            return
        except (ValueError, RecursionError):
            self._note_fault(f"line {self._lines} is not JSON", "not-json", line)
            return
        yield from self._take(event, line)

    def _take(self, event: JsonValue, line: bytes) -> Iterator[Progress]:
        kind = event.get("event") if isinstance(event, dict) else None
        try:
            if kind == "progress":
                progress = _Progress.model_validate(event, strict=True)
                yield Progress(message=self._clean(progress.message), done=progress.done, total=progress.total)
            elif kind == "result":
                self._result_count += 1
                if self._result_count == 1:
                    self._results.append(line)
            elif kind == "error":
                failure = _Failure.model_validate(event, strict=True)
                # The first failure is the cause; a later one may be a consequence.
                self._failure = self._failure or failure
            else:
                self._note_fault(f"line {self._lines} is not an event of the contract", "unknown-event", line)
        except ValidationError:
            self._note_fault(f"line {self._lines}, a {kind} line, has other fields than the contract says", "bad-event", line)

    def _note_fault(self, what: str, code: str, line: bytes) -> None:
        if not self._fault:
            shown = self._redact(line.decode("utf-8", "replace")[: 10 * _SHOWN_CHARACTERS])[:_SHOWN_CHARACTERS]
            self._fault, self._fault_code = f"{what}: {shown!r}", code

    def _clean(self, text: str) -> str:
        return self._redact(text[: 2 * MAX_MESSAGE_CHARACTERS])[:MAX_MESSAGE_CHARACTERS]

    def _error(self, what: str, code: str, exit_code: int | None, stderr_tail: str, hint: str = "") -> StageError:
        return StageError(what, stage=self._contract.name, guest_exit_code=exit_code, code=code, stderr_tail=stderr_tail, hint=hint)


def _exit_text(exit_code: int | None) -> str:
    return "was stopped before it ended" if exit_code is None else f"exited with {exit_code}"


def _ended(exit_code: int | None) -> str:
    return f"no result line; the script {_exit_text(exit_code)}"


def _last_line(stderr_tail: str) -> str:
    lines = [line.strip() for line in stderr_tail.splitlines() if line.strip()]
    return f"the script's last words: {lines[-1][:300]}" if lines else ""
