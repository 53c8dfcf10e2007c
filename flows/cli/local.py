"""`winvhd local`: the stand-in cloud, a Prefect server, a worker and the deployments on this machine, as a service to the browser."""

from __future__ import annotations

import hashlib
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich.console import Console

from flows.cli.failure import reported
from flows.cli.up_record import PARTS, UpRecord, only_one, read_record
from images.errors import ConfigurationError
from images.loading import definition_names
from infra.background import BackgroundProcess
from infra.checkout import ROOT, make_folder, output_folder, state_folder
from infra.prefect.flow_runs import active_runs, cancel_runs, crash_lost_runs, end_flow_processes
from infra.prefect.registration import AUTOMATIONS_FILE, PREFECT_FILE, create_work_pool, is_registered, process_job_template, register
from infra.prefect.server import answers, launch_prefect_server, port_in_use, start_worker, wait_for_prefect_server, wait_for_worker
from infra.profiles import azure_profile_file, running_stand_in, start_stand_in

local_app = typer.Typer(help="Run everything on this machine: stand-in cloud, Prefect server, worker.", no_args_is_help=True)

DEFAULT_PORT = 4200
DEPLOYMENT = "build-image/build-image"
_CANCEL_S = 45.0
"""Cancelling a run whose tasks run in threads takes 31 s."""


@local_app.command()
def up(
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help=f"Port of the Prefect server on 127.0.0.1 (default: the last one, or {DEFAULT_PORT})."),
    ] = None,
) -> None:
    """Start what does not run yet of stand-in cloud, Prefect server and worker, register the deployments, print the address of the UI."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    with reported(console), only_one():
        record = read_record()
        missing = [part for part in PARTS if not record.alive(part)]
        if port is not None and port != record.port and "server" not in missing:
            raise ConfigurationError(f"it is up on port {record.port}", hint="to move it: winvhd local down, then winvhd local up --port")
        clock = time.monotonic()
        try:
            _start(record, missing, port, console)
        except BaseException as error:
            # What ran before stays; what this command started goes.
            for part in reversed(missing):
                record.stop(part)
            if isinstance(error, httpx.HTTPError):
                raise ConfigurationError(
                    f"the Prefect server at {record.ui_url} does not answer: {error}",
                    hint=f"winvhd local down, then up again; its log is {state_folder() / 'prefect' / 'server.log'}",
                ) from error
            raise
        if missing:
            console.print(f"up in {time.monotonic() - clock:.0f} s: {record.ui_url}")
        else:
            console.print(f"already up: {record.ui_url}")
        console.print(f"build an image: {record.ui_url}deployments, build-image, Run\nend with:       winvhd local down")


def _start(record: UpRecord, missing: list[str], port: int | None, console: Console) -> None:
    home = make_folder(state_folder() / "prefect")
    port = port or record.port or DEFAULT_PORT
    server: BackgroundProcess | None = None
    if "server" in missing:
        if port != record.port:
            # A worker that was left over polls the old port.
            record.stop("worker")
            missing += ["worker"] if "worker" not in missing else []
        if port_in_use(port):
            raise ConfigurationError(
                f"port {port} is in use", hint=f"end what listens there, or choose another port: winvhd local up --port {port + 1}"
            )
        console.print(f"Prefect server: starting on port {port} …")
        server = launch_prefect_server(home, port=port, services=True, with_parent=False)
        record.port = port
        record.started("server", server)
    if "stand-in" in missing:
        _refuse_foreign_stand_in()
        console.print("stand-in cloud: starting …")
        record.started("stand-in", start_stand_in(with_parent=False))
    # Importing Prefect takes as long as the server needs anyway.
    template = process_job_template() if "worker" in missing else {}
    if server is not None:
        wait_for_prefect_server(server, port=port)
    if "worker" in missing:
        create_work_pool(record.api_url, template)
        for run in crash_lost_runs(record.api_url):
            console.print(f"run “{run.name}” had lost its process: now Crashed; Retry in the UI builds it again")
        console.print("worker:         starting …")
        begun = datetime.now(UTC)
        worker = start_worker(home, record.api_url, environment=_folders(), with_parent=False, cwd=ROOT)
        record.started("worker", worker)
    wanted = _registration_digest()
    if record.registered != wanted or not is_registered(record.api_url, DEPLOYMENT):
        console.print("deployments:    registering …")
        register(home, record.api_url)
        record.registered = wanted
        record.save()
    if "worker" in missing:
        wait_for_worker(worker, record.api_url, since=begun)


def _refuse_foreign_stand_in() -> None:
    running = running_stand_in()
    if running is not None:
        raise ConfigurationError(
            f"a stand-in cloud that `local up` did not start serves {state_folder()}: pid {running[0]}",
            hint="wait for the build that uses it, or name another folder with WINVHD_STATE",
        )


def _folders() -> dict[str, str]:
    """The flow runs use the folders of this command, wherever the worker stands."""
    return {
        "WINVHD_STATE": str(state_folder()),
        "WINVHD_OUT": str(output_folder()),
        "WINVHD_AZURE_PROFILE": str(azure_profile_file().resolve()),
    }


def _registration_digest() -> str:
    """Changes with a definition's name, a flow, a parameter's type, a block or a deployment: then the forms must be registered again."""
    declaring = (path for folder in ("flows", "images", "infra/prefect") for path in sorted((ROOT / folder).glob("*.py")))
    files = [PREFECT_FILE, AUTOMATIONS_FILE, *declaring]
    digest = hashlib.sha256(f"{ROOT}\n{definition_names()}".encode())
    for file in files:
        digest.update(Path(file).read_bytes())
    return digest.hexdigest()


@local_app.command()
def down() -> None:
    """Cancel the runs that are going on and end what `local up` started; the stand-in's state and the runs' history stay."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    with reported(console), only_one():
        record = read_record()
        if record.alive("server") and record.alive("worker"):
            _cancel_active(record, console)
        # The worker before the server: what it still has to say must find somebody.
        was_up = [part for part in reversed(PARTS) if _end(part, record)]
        console.print(f"ended: {', '.join(was_up)}" if was_up else "nothing was up")


def _end(part: str, record: UpRecord) -> bool:
    ended = record.stop(part)
    if part == "worker" and record.api_url:
        # Runs that would not be cancelled, or whose worker was killed earlier.
        end_flow_processes(record.api_url, state_folder() / "up.json")
    return ended


def _cancel_active(record: UpRecord, console: Console) -> None:
    try:
        runs = active_runs(record.api_url)
        for run in runs:
            console.print(f"cancelling “{run.name}” …")
        if runs:
            cancel_runs(record.api_url, runs, patience_s=_CANCEL_S)
    except httpx.HTTPError as error:
        console.print(f"the Prefect server does not answer ({error}); its runs end without being cancelled")


@local_app.command()
def status() -> None:
    """Say what runs and where; exit code 1 unless everything does."""
    record = read_record()
    running = {part: record.alive(part) for part in PARTS}
    for part, alive in running.items():
        typer.echo(f"{part:<9} {'running, pid ' + str(record.pids[part]) if alive else 'not running'}")
    if running["server"] and answers(f"{record.api_url}/health"):
        typer.echo(f"{'UI':<9} {record.ui_url}")
    elif running["server"]:
        typer.echo(f"{'UI':<9} the server does not answer; its log is {state_folder() / 'prefect' / 'server.log'}")
        raise typer.Exit(1)
    if not all(running.values()):
        raise typer.Exit(1)
