r"""The stage before a checkpoint, as images.stages.finish describes it: traces of Run Command and of runs that have ended go."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from images.stages.contract import NoInput
from images.stages.finish import ClearRunCommandResult
from images.stages.link import RUNS_FOLDER
from infra.local.machine.disk import MachineDisk
from infra.local.machine.scheduled_tasks import remove_task, task_paths
from infra.local.machine.stage_run import StageFailureError, StageRun
from infra.local.machine.stages.finish import PLUGINS

_HANDLERS = "Microsoft.CPlat.Core.RunCommand*"
_TRACES = ("Status", "RuntimeSettings", "Downloads")
_TASK = r"\winvhd-"


def clear_run_command(run: StageRun, _: NoInput) -> ClearRunCommandResult:
    """Status, settings and scripts of past commands and leftovers of runs removed; fails while a run goes on."""
    with run.machine.lock:
        removed = (*_stage_runs(run), *_handler_traces(run.disk))
    return ClearRunCommandResult(changed=bool(removed), removed=removed)


def _stage_runs(run: StageRun) -> Iterator[str]:
    running = run.context.running_tasks()
    for task in task_paths(run.disk):
        if not task.startswith(_TASK):
            continue
        if task.removeprefix(_TASK) in running:
            raise StageFailureError("stage-running", f"the task {task[1:]} still runs")
        remove_task(run.disk, task)
        yield task
    yield from _clear(run.disk, RUNS_FOLDER)


def _handler_traces(disk: MachineDisk) -> Iterator[str]:
    for version in sorted(disk.path(PLUGINS).glob(f"{_HANDLERS}/*")):
        for trace in _TRACES:
            yield from _clear(disk, rf"{PLUGINS}\{version.parent.name}\{version.name}\{trace}")


def _clear(disk: MachineDisk, folder: str) -> Iterator[str]:
    path = disk.path(folder)
    for entry in sorted(path.iterdir()) if path.is_dir() else ():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        yield rf"{folder}\{entry.name}"
