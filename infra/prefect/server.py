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
from pathlib import Path

from images.errors import ConfigurationError
from infra.background import BackgroundProcess, start_process, wait_until_ready

WORK_POOL = "winvhd"


def prefect_environment(home: Path, *, api_url: str | None = None) -> dict[str, str]:
    """Environment for Prefect: its own home, no telemetry, quiet console; api_url when there is a server."""
    environment = {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_CLI_COLORS": "false",
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


def start_prefect_server(home: Path, *, port: int, services: bool, with_parent: bool) -> tuple[BackgroundProcess, str]:
    """A running Prefect server and its API's URL. services: schedules, late runs, automations; a single build needs none.

    Raises ConfigurationError when the port is taken or the server does not come up.
    """
    if port_in_use(port):
        raise ConfigurationError(f"port {port} is in use", hint="end what listens there, or choose another port with --port")
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    if not services:
        command.append("--no-services")
    environment = prefect_environment(home) | {"PREFECT_LOGGING_LEVEL": "WARNING", "PREFECT_LOGGING_SERVER_LEVEL": "WARNING"}
    # A server inherits no client settings: an API URL would make it talk to another server.
    process = start_process(
        "the Prefect server", command, log=home / "server.log", environment=environment | {"PREFECT_API_URL": ""}, with_parent=with_parent
    )
    wait_until_ready(process, lambda: answers(f"http://127.0.0.1:{port}/api/health"), timeout_s=120)
    return process, f"http://127.0.0.1:{port}/api"


def start_worker(home: Path, api_url: str, *, pool: str = WORK_POOL, with_parent: bool, cwd: Path) -> BackgroundProcess:
    """A process worker for the pool; the pool must exist."""
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--type", "process", "--name", "local"]
    environment = prefect_environment(home, api_url=api_url) | {"PREFECT_WORKER_QUERY_SECONDS": "2"}
    return start_process("the Prefect worker", command, log=home / "worker.log", environment=environment, with_parent=with_parent, cwd=cwd)
