"""Scripts of the link itself: starting an elevated stage as a scheduled task and following its output."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from images.stages.contract import StageContract, StageInput, StageResult

GUEST_FOLDER = r"C:\winvhd"
RUNS_FOLDER = r"C:\winvhd\runs"


class StartTaskInput(StageInput):
    """Start `script` as SYSTEM. The stage's input goes on through a named pipe and never touches the disk."""

    run_id: str = Field(pattern=r"^[A-Za-z0-9-]{1,80}$", description="The task is called winvhd-<run_id>; a run_id runs once.")
    script: str
    input: dict[str, Any]
    timeout_s: int


class StartTaskResult(StageResult):
    task_name: str
    started: bool = Field(description="False when this run_id was started before: follow it, do not start it again.")


class ReadOutputInput(StageInput):
    """Read from byte `offset`, waiting up to wait_s for something new."""

    run_id: str
    offset: int
    wait_s: float
    max_bytes: int
    with_errors: bool = Field(default=False, description="Give the end of the error stream although the run goes on.")


class ReadOutputResult(StageResult):
    data: str = Field(description="Base64 of the bytes of standard output from offset on.")
    next_offset: int
    state: Literal["running", "ended", "unknown"]
    exit_code: int | None
    stderr_tail: str = Field(description="The last 4,096 characters of the error stream, once the task has ended or when asked for.")


class RemoveTaskInput(StageInput):
    run_id: str
    stop: bool = Field(default=False, description="End a run that still goes on, with everything it started, instead of leaving it alone.")


class ReceiveFileInput(StageInput):
    """One line of standard input; behind it come the file's bytes from `offset` on, as raw deflate."""

    path: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size_bytes: int = Field(ge=0)
    offset: int = Field(description="Where the bytes that follow begin; negative: none follow, only say how much is there.")


class ReceiveFileResult(StageResult):
    complete: bool = Field(description="True when the file is there under its name, with its hash.")
    received_bytes: int = Field(description="From where a transfer that broke off goes on.")


START_TASK = StageContract("start-stage-task", "Start-StageTask.ps1", StartTaskInput, StartTaskResult, timeout_s=120)
READ_OUTPUT = StageContract("read-stage-output", "Read-StageOutput.ps1", ReadOutputInput, ReadOutputResult, timeout_s=120)
REMOVE_TASK = StageContract("remove-stage-task", "Remove-StageTask.ps1", RemoveTaskInput, StageResult, timeout_s=120)

RECEIVE_FILE = StageContract(
    "receive-file", "Receive-File.ps1", ReceiveFileInput, ReceiveFileResult, timeout_s=3600, title="File over the link"
)

LINK_STAGES = (START_TASK, READ_OUTPUT, REMOVE_TASK, RECEIVE_FILE)
