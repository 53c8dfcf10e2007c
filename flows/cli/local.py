"""`winvhd local`: the stand-in cloud, a Prefect server, a worker and the deployments on this machine, as a service to the browser."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from flows.cli.failure import reported
from images.errors import ConfigurationError
from infra.background import BackgroundProcess, process_alive
from infra.checkout import ROOT, make_folder, state_folder
from infra.prefect.server import WORK_POOL, answers, prefect_environment, start_prefect_server, start_worker
from infra.profiles import running_stand_in, start_stand_in

local_app = typer.Typer(help="Run everything on this machine: stand-in cloud, Prefect server, worker.", no_args_is_help=True)
_NAMES = ("stand-in", "server", "worker")


def _record_path() -> Path:
    return state_folder() / "up.json"


def _recorded() -> dict[str, Any]:
    try:
        content = json.loads(_record_path().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def running_api_url() -> str | None:
    """The API of the server that `local up` started, or None."""
    record = _recorded()
    url = record.get("api_url")
    return url if isinstance(url, str) and _alive(record, "server") else None


def _alive(record: dict[str, Any], name: str) -> bool:
    pid = record.get("pids", {}).get(name)
    if not isinstance(pid, int) or not process_alive(pid):
        return False
    # A pid may have been given to another program since: ours runs this very Python.
    command = Path(f"/proc/{pid}/cmdline")
    return not command.exists() or sys.executable.encode() in command.read_bytes()


def _stop(record: dict[str, Any]) -> None:
    # The worker first: a run that it ends can still tell the server, and the server can still be told.
    for name in reversed(_NAMES):
        if _alive(record, name):
            BackgroundProcess(name, record["pids"][name], state_folder() / "up.log").stop()
    _record_path().unlink(missing_ok=True)


@local_app.command()
def up(port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the Prefect server on 127.0.0.1.")] = 4200) -> None:
    """Start stand-in cloud, Prefect server, worker and deployments; print the address of the UI."""
    console = Console(stderr=True)
    with reported(console):
        record = _recorded()
        if all(_alive(record, name) for name in _NAMES):
            console.print(f"already up: {record['ui_url']}", highlight=False)
            return
        _stop(record)
        home = make_folder(state_folder() / "prefect")
        pids: dict[str, int] = {}
        record = {"pids": pids, "api_url": "", "ui_url": f"http://127.0.0.1:{port}/v2/"}
        try:
            running = running_stand_in()
            console.print("starting the stand-in cloud and the Prefect server …")
            pids["stand-in"] = running[0] if running else start_stand_in(with_parent=False).pid
            server, record["api_url"] = start_prefect_server(home, port=port, services=True, with_parent=False)
            pids["server"] = server.pid
            console.print("registering the deployments …")
            _deploy(home, record["api_url"])
            pids["worker"] = start_worker(home, record["api_url"], with_parent=False, cwd=ROOT).pid
        except BaseException:
            _stop(record)
            raise
        _record_path().write_text(json.dumps(record, indent=2), encoding="utf-8")
        console.print(
            f"up: {record['ui_url']}\nPress Run on the deployment `build-image/build-image`; end with: winvhd local down", highlight=False
        )


def _deploy(home: Path, api_url: str) -> None:
    environment = {**os.environ, **prefect_environment(home, api_url=api_url), "WINVHD_ROOT": str(ROOT)}
    prefect = [sys.executable, "-m", "prefect", "--no-prompt"]
    for command in (
        ["work-pool", "create", WORK_POOL, "--type", "process", "--overwrite"],
        ["deploy", "--all", "--prefect-file", str(ROOT / "deployments" / "prefect.yaml")],
    ):
        done = subprocess.run([*prefect, *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=180, check=False)
        if done.returncode != 0:
            tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-6:])
            raise ConfigurationError(f"`prefect {' '.join(command[:2])}` failed:\n{tail}", hint="see deployments/prefect.yaml")


@local_app.command()
def down() -> None:
    """End what `local up` started; the stand-in's state and the runs' history stay."""
    console = Console(stderr=True)
    with reported(console):
        record = _recorded()
        was_up = any(_alive(record, name) for name in _NAMES)
        _stop(record)
        console.print("down" if was_up else "nothing was up")


@local_app.command()
def status() -> None:
    """Say what runs and where; exit code 1 when nothing does."""
    record = _recorded()
    for name in _NAMES:
        pid = record.get("pids", {}).get(name)
        typer.echo(f"{name:<9} {'running, pid ' + str(pid) if _alive(record, name) else 'not running'}")
    api_url = running_api_url()
    if api_url is None or not answers(f"{api_url}/health"):
        raise typer.Exit(1)
    typer.echo(f"UI        {record['ui_url']}")
