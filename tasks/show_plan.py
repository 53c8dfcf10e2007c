"""What the page of a run shows of its plan: a bar while it is worked on, and in the end which layers were built, reused or not reached."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import httpx
from prefect.artifacts import create_progress_artifact, create_table_artifact, update_progress_artifact
from prefect.context import FlowRunContext
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from images.plan import BuildPlan, Layer
from images.timings import StepTiming
from tasks.build import Build
from tasks.progress import run_logger

CLOSING_STEPS = ("capture the VHD", "download the VHD", "inspect the captured disk")
"""Steps after the last layer that take long; that all tests have passed counts as one more."""
_INTERVAL_S = 1.0
"""Each update is a request to the Prefect API, and a stage may take a tenth of a second."""


class PlanProgress:
    """How much of a plan is done, from the timings of a build's steps."""

    def __init__(self, plan: BuildPlan) -> None:
        self._plan = plan
        self.total = sum(_size(layer) for layer in plan.layers) + len(CLOSING_STEPS) + 1

    def done(self, steps: tuple[StepTiming, ...]) -> int:
        """Steps of the plan that are done, of `total`; all of a layer's when the layer was reused."""
        layers = sum(
            _size(layer) if self.outcome(layer, steps) == "reused" else min(_size(layer), sum(_counts(step, layer) for step in steps))
            for layer in self._plan.layers
        )
        ended = {step.name for step in steps if step.outcome != "failed"}
        return layers + sum(name in ended for name in CLOSING_STEPS)

    def outcome(self, layer: Layer, steps: tuple[StepTiming, ...]) -> str:
        """Reused, built, failed, incomplete, not reached, or empty for a layer without stages."""
        of_layer = [step for step in steps if step.layer == layer.name.value]
        if not of_layer:
            return "not reached" if layer.stages else "empty"
        if any(step.outcome == "failed" for step in of_layer):
            return "failed"
        if all(step.outcome == "reused" for step in of_layer):
            return "reused"
        return "built" if len(of_layer) >= _size(layer) else "incomplete"

    def table(self, steps: tuple[StepTiming, ...]) -> list[dict[str, str | float]]:
        """One row a layer: outcome, seconds, stages and the beginning of its fingerprint."""
        return [
            {
                "layer": layer.name.value,
                "outcome": self.outcome(layer, steps),
                "seconds": round(sum(step.seconds for step in steps if step.layer == layer.name.value), 1),
                "stages": ", ".join(planned.contract.title or planned.stage for planned in layer.stages),
                "fingerprint": layer.fingerprint[:12],
            }
            for layer in self._plan.layers
        ]


def _size(layer: Layer) -> int:
    """Its stages, their restarts, and its checkpoint, which takes the place of a last restart."""
    if not layer.stages:
        return 0
    checkpoint = layer.reusable and not layer.stages[-1].restart_after
    return len(layer.stages) + sum(planned.restart_after for planned in layer.stages) + checkpoint


def _counts(step: StepTiming, layer: Layer) -> bool:
    return step.layer == layer.name.value and step.outcome != "failed"


class _Bar:
    """The progress artifact of a flow run."""

    def __init__(self, build: Build, progress: PlanProgress) -> None:
        self._build = build
        self._progress = progress
        self._lock = threading.Lock()
        self._shown_at = time.monotonic()
        created = create_progress_artifact(0.0, key=f"{build.image}-progress", description=f"{progress.total} steps planned")
        # In a synchronous flow Prefect answers with the id itself, although its types allow for a coroutine.
        if not isinstance(created, UUID):
            raise TypeError(type(created).__name__)
        self._artifact = created

    def step_ended(self, step: StepTiming) -> None:
        if not self._lock.acquire(blocking=False):
            # Another thread is telling it just now.
            return
        try:
            if time.monotonic() - self._shown_at >= _INTERVAL_S:
                # The next step asks a server that is down again; Prefect's client would hold the build up for a minute each time.
                with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
                    self._show(self._progress.done(self._build.timings.steps), f"last: {step.name}")
        finally:
            self._lock.release()

    def end(self, *, complete: bool) -> None:
        with self._lock:
            done = self._progress.done(self._build.timings.steps) + complete
            self._show(done, "built and tested" if complete else "stopped")

    def _show(self, done: int, what: str) -> None:
        total = self._progress.total
        with _if_prefect_answers():
            update_progress_artifact(self._artifact, round(100 * done / total, 1), description=f"{done} of {total} steps; {what}")
        self._shown_at = time.monotonic()


@contextmanager
def _if_prefect_answers() -> Iterator[None]:
    # Showing comes after doing: it must neither stop a build nor hide why one stopped.
    try:
        yield
    except httpx.HTTPError as error:
        run_logger().warning("could not show the plan's progress: %s", error)


@contextmanager
def plan_shown(build: Build, plan: BuildPlan) -> Iterator[None]:
    """Show the plan's progress and outcome as artifacts of the flow run; outside a run nothing."""
    if FlowRunContext.get() is None:
        yield
        return
    progress = PlanProgress(plan)
    bar = _Bar(build, progress)
    complete = False
    try:
        with build.timings.listening(bar.step_ended):
            yield
        complete = True
    finally:
        bar.end(complete=complete)
        with _if_prefect_answers():
            show_layers(build, progress)


def show_layers(build: Build, progress: PlanProgress) -> None:
    """The layers' outcomes as a table; raises httpx.HTTPError when the Prefect API does not answer."""
    rows = progress.table(build.timings.steps)
    outcomes = Counter(str(row["outcome"]) for row in rows)
    listed = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items())
    create_table_artifact(rows, key=f"{build.image}-layers", description=f"Layers: {listed}")
