"""A Prefect server for a benchmark, as `winvhd build` starts one. Prefect reads its settings when it is imported: not here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.prefect.server import free_port, prefect_environment, start_prefect_server


@contextmanager
def prefect_api(home: Path) -> Iterator[int]:
    """Serve a Prefect API to this process, which must not have imported Prefect yet; gives the server's process id."""
    home.mkdir(parents=True, exist_ok=True)
    server, api_url = start_prefect_server(home, port=free_port(), services=False, with_parent=True)
    os.environ.update(prefect_environment(home, api_url=api_url))
    os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"
    try:
        from prefect.events.worker import EventsWorker
        from prefect.logging.handlers import APILogWorker
        from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

        with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
            yield server.pid
        for worker in (APILogWorker, EventsWorker):
            worker.drain_all(timeout=10)
    finally:
        server.stop()
