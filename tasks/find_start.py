"""Where a build can start: the checkpoint of the highest layer that exists, looked up in the cloud each time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

from prefect.client.schemas.objects import State
from prefect.states import Completed

from images.plan import BuildPlan, Layer
from infra.azure.checkpoint_name import PUBLIC
from infra.azure.checkpoint_state import Checkpoint
from infra.azure.checkpoints import find_checkpoint
from tasks.build import Build
from tasks.progress import run_logger
from tasks.step_task import step_task


def find_layer(build: Build, layer: Layer) -> Checkpoint | None:
    """The checkpoint of one layer that this build may start from; raises CloudError.

    A private build also starts from public ones; a public build never from a private one.
    """
    for scope in dict.fromkeys((build.scope, PUBLIC)):
        found = find_checkpoint(build.cloud, layer.name.value, layer.fingerprint, scope, on_event=run_logger().info)
        if found is not None:
            return found
    return None


def is_of_this_run(build: Build, checkpoint: Checkpoint) -> bool:
    """True when a build of the same run made it, an earlier attempt included: build ids end in the digits of their run."""
    return checkpoint.build_id.rpartition("-")[2] == build.build_id.rpartition("-")[2]


def find_start(build: Build, plan: BuildPlan, *, of_this_run: bool = False) -> Checkpoint | None:
    """The checkpoint of the plan's highest layer that has one; None when the build starts at its base image. Raises CloudError.

    With `of_this_run`, checkpoints of other runs count as missing.
    """
    reusable = [layer for layer in plan.layers if layer.reusable]
    with ThreadPoolExecutor(max(len(reusable), 1), thread_name_prefix="checkpoint") as pool:
        running = [pool.submit(copy_context().run, find_layer, build, layer) for layer in reusable]
    found = (checkpoint for pending in reversed(running) if (checkpoint := pending.result()) is not None)
    return next((checkpoint for checkpoint in found if not of_this_run or is_of_this_run(build, checkpoint)), None)


@step_task("reuse-layer", "Layer {name}")
def _reuse(name: str, checkpoint: str) -> State[str]:
    """Ends as *Cached*, as a reused result does in Prefect's UI."""
    run_logger().info("layer %s: %s", name, checkpoint)
    return Completed(name="Cached", message=f"from checkpoint {checkpoint}", data=checkpoint)


def show_reused(build: Build, plan: BuildPlan, start: Checkpoint) -> None:
    """Count the layers up to a checkpoint as reused: in the timings, the log and the run's page."""
    for layer in plan.layers:
        if layer.stages and not any(step.layer == layer.name.value for step in build.timings.steps):
            with build.timings.step(f"layer {layer.name.value} {layer.fingerprint[:12]}", layer=layer.name.value) as step:
                step.outcome = "reused"
                _reuse(layer.name.value, start.name)
        if layer.fingerprint == start.fingerprint:
            return
