"""A Prefect server and a process worker on this machine.

How Prefect 3.9 starts and what it needs: https://docs.prefect.io/v3/api-ref/settings-ref and `prefect server start --help`.
"""

from __future__ import annotations

import http.client
import socket
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import httpx

from images.errors import ConfigurationError
from infra.background import BackgroundProcess, start_process, wait_until_ready

WORK_POOL = "winvhd"

OPTIONAL_SERVICES = (
    "cancellation_cleanup",
    "cleanup_reconciler",
    "db_vacuum",
    "event_logger",
    "event_persister",
    "foreman",
    "late_runs",
    "pause_expirations",
    "scheduler",
    "task_run_recorder",
    "triggers",
)
"""Services of a Prefect server that a single build does without, by the names of their settings: all but the repossessor."""


def prefect_environment(home: Path, *, api_url: str | None = None) -> dict[str, str]:
    """Environment for Prefect: its own home, no telemetry, quiet console; api_url when there is a server."""
    environment = {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_CLI_COLORS": "false",
        # Without an API, Prefect would start a hidden server, which outlives a process that is killed.
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        # Two arenas keep glibc from holding on to memory for every thread.
        "MALLOC_ARENA_MAX": "2",
    }
    if api_url:
        environment["PREFECT_API_URL"] = api_url
    return environment


def free_port() -> int:
    """A port on 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def port_in_use(port: int) -> bool:
    """True when something listens on 127.0.0.1:port."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def answers(url: str) -> bool:
    """True when an HTTP GET of url gives 200; a proxy of the user's environment is not asked about this machine itself."""
    try:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in {"http", "https"}:
            return False
        here = parts.hostname in {"127.0.0.1", "localhost"}
        opener = urllib.request.build_opener(*([urllib.request.ProxyHandler({})] if here else []))
        with opener.open(url, timeout=2) as response:
            return bool(response.status == 200)
    except urllib.error.HTTPError as error:
        error.close()
        return False
    except (OSError, ValueError, http.client.HTTPException):
        return False


def api_url_on(port: int) -> str:
    """URL of the API of a server that listens on 127.0.0.1:port."""
    return f"http://127.0.0.1:{port}/api"


def start_prefect_server(home: Path, *, port: int, services: bool, with_parent: bool) -> tuple[BackgroundProcess, str]:
    """A running Prefect server and its API's URL. services: schedules, late runs, automations; a single build needs none.

    Raises ConfigurationError when the port is taken or the server does not come up.
    """
    process = launch_prefect_server(home, port=port, services=services, with_parent=with_parent)
    wait_for_prefect_server(process, port=port)
    return process, api_url_on(port)


def launch_prefect_server(home: Path, *, port: int, services: bool, with_parent: bool) -> BackgroundProcess:
    """A Prefect server that is still starting; raises ConfigurationError when the port is taken."""
    if port_in_use(port):
        raise ConfigurationError(f"port {port} is in use", hint="end what listens there, or choose another port with --port")
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    environment = prefect_environment(home) | {"PREFECT_LOGGING_LEVEL": "WARNING", "PREFECT_LOGGING_SERVER_LEVEL": "WARNING"}
    # A server inherits no client settings: an API URL would make it talk to another server.
    environment |= {
        "PREFECT_API_URL": "",
        # In memory, where they are by default, leases of concurrency slots are lost with the server, and the slots stay taken for ever.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        # Else the page asks port 4200, whatever port the server has. Without a host it works through a forwarded port as well.
        "PREFECT_SERVER_UI_API_URL": "/api",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    }
    if not services:
        # Not --no-services, which leaves out the repossessor as well: what a killed build had of a concurrency limit would never come free.
        environment |= {f"PREFECT_SERVER_SERVICES_{name.upper()}_ENABLED": "false" for name in OPTIONAL_SERVICES}
    return start_process("the Prefect server", command, log=home / "server.log", environment=environment, with_parent=with_parent)


def wait_for_prefect_server(process: BackgroundProcess, *, port: int) -> None:
    """Return once the API answers; raises ConfigurationError when the server does not come up."""
    wait_until_ready(process, lambda: answers(f"{api_url_on(port)}/health"), timeout_s=120)


def start_worker(
    home: Path, api_url: str, *, environment: Mapping[str, str], pool: str = WORK_POOL, with_parent: bool, cwd: Path
) -> BackgroundProcess:
    """A process worker for the pool, which must exist; the flow runs that it starts inherit `environment`."""
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--type", "process", "--name", "local"]
    settings = {
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        # deployments/automations.yaml calls a run crashed when it has been silent for three of these.
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    }
    return start_process(
        "the Prefect worker",
        command,
        log=home / "worker.log",
        environment={**environment, **prefect_environment(home, api_url=api_url), **settings},
        with_parent=with_parent,
        cwd=cwd,
    )


def wait_for_worker(process: BackgroundProcess, api_url: str, *, since: datetime, pool: str = WORK_POOL) -> None:
    """Return once the worker has told the server, after `since`, that it is there; raises ConfigurationError when it does not."""

    def seen() -> bool:
        # A killed worker of the same name stays in the list for a while: only a fresh heartbeat counts.
        with client_of(api_url) as client:
            workers = client.post(f"/work_pools/{pool}/workers/filter", json={}).json()
        return any(datetime.fromisoformat(worker["last_heartbeat_time"]) >= since for worker in workers)

    wait_until_ready(process, seen, timeout_s=60)


def client_of(api_url: str) -> httpx.Client:
    """An HTTP client for a Prefect API on this machine; no proxy is asked about it."""
    return httpx.Client(base_url=api_url, timeout=30, trust_env=False)
