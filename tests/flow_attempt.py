"""Builds as flow runs, attempt by attempt: in this process, or in one of their own that is killed where a test wants it.

As a module it is that process: what Prefect's worker starts for a flow run, and every step's events as JSON lines on standard output.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx

from infra.azure.blob_storage import BUILDS_CONTAINER
from infra.azure.checkpoint_state import CheckpointState
from infra.azure.checkpoints import PUBLIC, list_checkpoints
from infra.azure.session import Cloud
from infra.checkout import ROOT
from infra.prefect.vcpu_quota import quota_name

# Prefect reads its settings when it is first imported, which must not be before the fixtures have made them.
if TYPE_CHECKING:
    from prefect import Flow
    from prefect.client.schemas.objects import State

    from tasks.progress import StepEvent


@dataclass(frozen=True)
class Moment:
    """A moment in a build: the first event of a kind whose step and message begin so."""

    kind: str
    step: str
    message: str = ""

    def is_now(self, event: StepEvent) -> bool:
        """True when the event is of this moment."""
        return event.kind == self.kind and event.step.startswith(self.step) and event.message.startswith(self.message)


@dataclass(frozen=True)
class Attempt:
    """One attempt of a flow run that has ended."""

    flow_run_id: UUID
    state: State[Any]
    events: tuple[StepEvent, ...]

    @property
    def result(self) -> Any:
        """What the flow returned; raises what it raised."""
        return self.state.result()

    def steps(self, image: str = "") -> dict[str, str]:
        """Outcome of every step that ended, by name; of several of one name the last."""
        return {event.step: event.outcome for event in self.events if event.kind == "end" and event.image == image}

    def said(self, step: str) -> str:
        """Everything that the steps whose names begin so said on their way."""
        return "\n".join(event.message for event in self.events if event.kind == "progress" and event.step.startswith(step))

    def reused_layers(self, image: str = "") -> list[str]:
        """Names of the layers that were there."""
        return [step.split()[1] for step, outcome in self.steps(image).items() if step.startswith("layer ") and outcome == "reused"]

    def saved_layers(self, image: str = "") -> list[str]:
        """Names of the layers that were built and saved."""
        return [step.split()[1] for step, outcome in self.steps(image).items() if step.startswith("checkpoint ") and outcome == "built"]

    def task_states(self, *names: str) -> dict[str, str]:
        """State names of all task runs, by name; returns once the server knows those that are named."""
        from prefect.client.orchestration import get_client
        from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

        ends_at = time.monotonic() + 60
        while True:
            with get_client(sync_client=True) as client:
                runs = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[self.flow_run_id])))
            states = {run.name: run.state_name or "" for run in runs}
            # Task runs reach the server as events, some time after the run.
            if all(states.get(name) not in {None, "", "Pending", "Running"} for name in names):
                return states
            assert time.monotonic() < ends_at, states
            time.sleep(0.2)


def new_run(flow: Flow[Any, Any], **parameters: Any) -> UUID:
    """Id of a new flow run with these parameters, as a deployment's form makes it."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        return client.create_flow_run(flow, parameters=parameters).id


def retry(flow_run_id: UUID) -> None:
    """What *Retry* in the UI does; a run whose process was killed is called crashed before, as the worker does."""
    from prefect.client.orchestration import get_client
    from prefect.states import AwaitingRetry, Crashed

    with get_client(sync_client=True) as client:
        state = client.read_flow_run(flow_run_id).state
        if state is not None and not state.is_final():
            client.set_flow_run_state(flow_run_id, Crashed(), force=True)
        client.set_flow_run_state(flow_run_id, AwaitingRetry())


def attempt(flow: Flow[Any, Any], flow_run_id: UUID, on_event: Callable[[StepEvent], None] = lambda _: None) -> Attempt:
    """The flow run's next attempt, in this process, at its end; `on_event` hears of every step, in that step's thread."""
    from prefect.client.orchestration import get_client
    from prefect.flow_engine import run_flow

    from tasks.progress import listening

    events: list[StepEvent] = []
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(flow_run_id)
    with listening(events.append), listening(on_event):
        state = run_flow(flow, flow_run=run, return_type="state")
    return Attempt(flow_run_id, state, tuple(events))  # type: ignore[arg-type]


def run(flow: Flow[Any, Any], on_event: Callable[[StepEvent], None] = lambda _: None, **parameters: Any) -> Attempt:
    """The only attempt of a new flow run."""
    return attempt(flow, new_run(flow, **parameters), on_event)


def once(moment: Moment, act: Callable[[], None]) -> Callable[[StepEvent], None]:
    """A listener that acts when the moment comes for the first time."""
    came = threading.Event()

    def hear(event: StepEvent) -> None:
        if moment.is_now(event) and not came.is_set():
            came.set()
            act()

    return hear


class FlowProcess:
    """An attempt in a process of its own."""

    def __init__(self, flow: Flow[Any, Any], flow_run_id: UUID, die_at: Moment | None = None) -> None:
        """`die_at`: the moment at which the process kills itself with SIGKILL."""
        from prefect.settings import PREFECT_API_URL

        given = {"flow": flow.name, "flow_run_id": str(flow_run_id), "die_at": asdict(die_at) if die_at else None}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.flow_attempt", json.dumps(given)],
            cwd=ROOT,
            env={**os.environ, "PREFECT_API_URL": str(PREFECT_API_URL.value())},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._events: list[StepEvent] = []

    def wait_for(self, moment: Moment) -> None:
        """Return as soon as the moment has come; fails when the process ends before."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._events.append(_event(line))
            if moment.is_now(self._events[-1]):
                return
        _, errors = self.process.communicate()
        raise AssertionError(f"{moment} never came\n{errors[-3000:]}")

    def end(self, timeout_s: float = 120) -> tuple[int, list[StepEvent]]:
        """Exit code and all events, once it has ended by itself."""
        output, errors = self.process.communicate(timeout=timeout_s)
        self._events += [_event(line) for line in output.splitlines()]
        self.errors = errors
        return self.process.returncode, self._events


@contextmanager
def in_a_process(flow: Flow[Any, Any], flow_run_id: UUID, die_at: Moment | None = None) -> Iterator[FlowProcess]:
    """An attempt in a process of its own, which does not outlive the block; what vCPUs it still held when it was killed are free again."""
    running = FlowProcess(flow, flow_run_id, die_at)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()
        running.process.communicate()
        if running.process.returncode == -signal.SIGKILL:
            forget_quotas()


def killed_at(flow: Flow[Any, Any], flow_run_id: UUID, moment: Moment) -> list[StepEvent]:
    """The events of an attempt whose process was killed (SIGKILL) at that moment."""
    with in_a_process(flow, flow_run_id, moment) as running:
        code, events = running.end()
    assert code == -signal.SIGKILL, f"{code}: {running.errors[-3000:]}"
    return events


def forget_quotas() -> None:
    """Delete the vCPU quotas, which builds make again: the test server never takes the slots of a killed process back.

    A server of `winvhd local up` does so within minutes (infra/prefect/vcpu_quota.py).
    """
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        for limit in client.read_global_concurrency_limits(limit=200, offset=0):
            if limit.name.startswith(quota_name("")):
                client.delete_global_concurrency_limit_by_name(limit.name)


def let_leases_run_out(cloud: Cloud) -> None:
    """End the leases of builds that were killed, as the next minute would."""
    from azure.core.exceptions import ResourceExistsError
    from azure.storage.blob import BlobLeaseClient

    with cloud.blobs().get_container_client(BUILDS_CONTAINER) as container:
        for blob in container.list_blobs(name_starts_with="leases/"):
            try:
                BlobLeaseClient(container.get_blob_client(blob.name)).break_lease(lease_break_period=0)
            except ResourceExistsError:
                # It was not leased.
                continue


def checkpoints_of(cloud: Cloud, image: str, scope: str = PUBLIC) -> dict[str, CheckpointState]:
    """The checkpoints that builds of an image saved, by layer."""
    return {state.layer: state for state in list_checkpoints(cloud, scope) if state.image == image}


def standin_status(cloud: Cloud) -> dict[str, Any]:
    """What the stand-in says about itself."""
    status: dict[str, Any] = httpx.get(f"{cloud.profile.arm_endpoint}/_standin/status", timeout=60).raise_for_status().json()
    return status


def operations(cloud: Cloud, name: str) -> int:
    """How many long-running operations of a name, such as vm.create, the stand-in has begun so far."""
    return int(standin_status(cloud)["started"].get(name, 0))


def _event(line: str) -> StepEvent:
    from tasks.progress import StepEvent

    return StepEvent(**json.loads(line))


def main() -> None:
    """The attempt that the JSON object in the first argument describes."""
    from prefect.client.orchestration import get_client
    from prefect.flow_engine import run_flow

    from flows.build_image import build_image
    from flows.build_images import build_images
    from flows.validate_private_fix import validate_private_fix
    from tasks.progress import listening

    given = json.loads(sys.argv[1])
    die_at = Moment(**given["die_at"]) if given["die_at"] else None
    lock = threading.Lock()

    def tell(event: StepEvent) -> None:
        with lock:
            sys.stdout.write(json.dumps(asdict(event)) + "\n")
            sys.stdout.flush()
        if die_at is not None and die_at.is_now(event):
            os.kill(os.getpid(), signal.SIGKILL)

    with get_client(sync_client=True) as client:
        flow_run = client.read_flow_run(UUID(given["flow_run_id"]))
    known: tuple[Flow[Any, Any], ...] = (build_image, build_images, validate_private_fix)
    flows = {each.name: each for each in known}
    with listening(tell):
        run_flow(flows[given["flow"]], flow_run=flow_run)


if __name__ == "__main__":
    main()
