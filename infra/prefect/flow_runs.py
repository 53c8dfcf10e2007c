"""Flow runs that a worker of this machine executes: ended in an orderly way, and found again when their worker was killed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import httpx

from infra.background import BackgroundProcess
from infra.prefect.server import WORK_POOL, client_of

_ACTIVE = ("PENDING", "RUNNING", "CANCELLING")
_PAGE = 200


@dataclass(frozen=True)
class ActiveRun:
    """A flow run that has been handed to a worker and has not ended."""

    run_id: str
    name: str


def active_runs(api_url: str) -> tuple[ActiveRun, ...]:
    """Runs of the work pool that have started and not ended; raises httpx.HTTPError when the server does not answer."""
    wanted = {
        "flow_runs": {"state": {"type": {"any_": list(_ACTIVE)}}},
        "work_pools": {"name": {"any_": [WORK_POOL]}},
        "limit": _PAGE,
    }
    with client_of(api_url) as client:
        runs = client.post("/flow_runs/filter", json=wanted).raise_for_status().json()
    return tuple(ActiveRun(run["id"], run["name"]) for run in runs)


def flow_processes(api_url: str) -> dict[str, int]:
    """Pid by run id of every flow run on this machine that talks to this API; empty where there is no /proc.

    Prefect starts one `python -m prefect.engine` a run, in a session of its own, with the run's id in its environment
    (prefect/runner/_starter_engine.py): it outlives its worker, and only the environment tells whose it is.
    """
    found: dict[str, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if b"prefect.engine" not in (folder / "cmdline").read_bytes().split(b"\0"):
                continue
            pairs = (entry.partition(b"=") for entry in (folder / "environ").read_bytes().split(b"\0"))
            environment = {name.decode(): value.decode(errors="replace") for name, _, value in pairs}
        except OSError:
            # It has ended meanwhile, or belongs to another user.
            continue
        run_id = environment.get("PREFECT__FLOW_RUN_ID")
        if run_id and environment.get("PREFECT_API_URL") == api_url:
            found[run_id] = int(folder.name)
    return found


def cancel_runs(api_url: str, runs: tuple[ActiveRun, ...], *, patience_s: float) -> None:
    """Cancel runs as the UI does and return when they have ended or patience_s is over; raises httpx.HTTPError."""
    for run in runs:
        _set_state(api_url, run.run_id, "CANCELLING", "Cancelling", force=False)
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline and active_runs(api_url):
        time.sleep(0.2)


def crash_lost_runs(api_url: str) -> tuple[ActiveRun, ...]:
    """Mark runs as crashed whose process is gone, and return them. Only while no worker runs: it may be about to start one."""
    if not Path("/proc/self/environ").exists():
        return ()
    alive = flow_processes(api_url)
    lost = tuple(run for run in active_runs(api_url) if run.run_id not in alive)
    for run in lost:
        _set_state(api_url, run.run_id, "CRASHED", "Crashed", force=True, message="The run's process is gone.")
    return lost


def end_flow_processes(api_url: str, log: Path) -> None:
    """End every flow run's process that is still there, its worker's or not."""
    for run_id, pid in flow_processes(api_url).items():
        BackgroundProcess(f"flow run {run_id}", pid, log).stop()


def _set_state(api_url: str, run_id: str, kind: str, name: str, *, force: bool, message: str | None = None) -> None:
    state = {"type": kind, "name": name, "message": message}
    with client_of(api_url) as client:
        answer = client.post(f"/flow_runs/{run_id}/set_state", json={"state": state, "force": force})
    # The run may have ended by itself a moment ago.
    if answer.status_code != httpx.codes.NOT_FOUND:
        answer.raise_for_status()
