"""What a build needs around it: the stand-in cloud and a Prefect server, started when they are not there yet."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from flows.cli.up_record import read_record
from images.errors import ConfigurationError
from infra.background import BackgroundProcess
from infra.checkout import make_folder, state_folder
from infra.prefect.server import answers, free_port, prefect_environment, start_prefect_server
from infra.profiles import running_stand_in, start_stand_in, wait_for_deletions

_DRAIN_S = 10.0
prefect_is_gone = threading.Event()
"""Set when the server did not answer at the end: at exit Prefect's senders would then try once more, without a limit."""


@contextmanager
def services_for_build(cloud: str) -> Iterator[Callable[[], None]]:
    """Start a Prefect API and, for the local cloud, the stand-in; ends at the block's end what was started here.

    The block gets a function that waits until both serve: importing Prefect and the SDKs needs the same seconds. Raises ConfigurationError
    when one of them does not come up, or when PREFECT_API_URL names a server that does not answer.
    """
    home = make_folder(state_folder() / "prefect")
    given = os.environ.get("PREFECT_API_URL") or _running_api_url()
    if given and not answers(f"{given.rstrip('/')}/health"):
        named = "PREFECT_API_URL" in os.environ
        raise ConfigurationError(
            f"no Prefect server answers at {given}",
            hint="unset PREFECT_API_URL, and the build starts a server of its own" if named else "end it with: winvhd local down",
        )
    with ThreadPoolExecutor(2) as pool, ExitStack() as stack:
        # The kernel ends children with the thread that forked them, so the pool must outlive the stack that stops them in order.
        stand_in = pool.submit(start_stand_in, with_parent=True) if cloud == "local" and running_stand_in() is None else None
        port = free_port()
        server = None if given else pool.submit(_server, home, port)
        for pending in (stand_in, server):
            if pending is not None:
                stack.callback(_stop, pending)
        if stand_in is not None:
            stack.callback(wait_for_deletions)
        # Before the block imports Prefect, which reads its settings then.
        _use_api(prefect_environment(home, api_url=given or f"http://127.0.0.1:{port}/api"))
        if server is not None:
            # Heartbeats tell others that a run's process was killed; this server ends with that process. Ending them takes a second.
            stack.enter_context(_no_heartbeats())
        # Last in, first out: what the run still has to say goes to the server before that ends.
        stack.callback(_send_what_is_left)

        def wait_until_ready() -> None:
            for pending in (stand_in, server):
                if pending is not None:
                    pending.result()

        yield wait_until_ready


@contextmanager
def _no_heartbeats() -> Iterator[None]:
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield


def _running_api_url() -> str | None:
    """The API of the server that `local up` started, or None."""
    record = read_record()
    return record.api_url if record.alive("server") else None


@contextmanager
def stand_in_for_planning(cloud: str) -> Iterator[None]:
    """Serve the block the stand-in when the cloud is local and it does not run yet; ends what was started here."""
    if cloud != "local" or running_stand_in() is not None:
        yield
        return
    process = start_stand_in(with_parent=True)
    try:
        yield
    finally:
        process.stop()


@dataclass(frozen=True)
class _Server:
    process: BackgroundProcess
    api_url: str

    def stop(self) -> None:
        self.process.stop()


def _server(home: Path, port: int) -> _Server:
    return _Server(*start_prefect_server(home, port=port, services=False, with_parent=True))


def _stop(pending: Future[BackgroundProcess] | Future[_Server]) -> None:
    if pending.exception() is None:
        pending.result().stop()


def _send_what_is_left() -> None:
    """Let Prefect's senders of logs and events finish; they retry for minutes at exit when their server is gone."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (APILogWorker, EventsWorker):
        worker.drain_all(timeout=_DRAIN_S)
    api_url = os.environ.get("PREFECT_API_URL", "")
    if api_url and not answers(f"{api_url.rstrip('/')}/health"):
        prefect_is_gone.set()


def _use_api(environment: dict[str, str]) -> None:
    os.environ.update(environment)
    # The CLI shows progress itself; the run's log goes to the server all the same.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
