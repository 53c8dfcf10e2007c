"""Where a build can start: the checkpoint of the highest layer that exists, looked up in the cloud each time."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor

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
        found = find_checkpoint(build.cloud, layer.name.value, layer.fingerprint, scope)
        if found is not None:
            return found
    return None


def find_start(build: Build, plan: BuildPlan, *, only: Collection[str] | None = None) -> Checkpoint | None:
    """The checkpoint of the plan's highest layer that has one; None when the build starts at its base image. Raises CloudError.

    With `only`, layers whose fingerprints are not in there count as missing.
    """
    reusable = [layer for layer in plan.layers if layer.reusable and (only is None or layer.fingerprint in only)]
    with ThreadPoolExecutor(max(len(reusable), 1), thread_name_prefix="checkpoint") as pool:
        found = list(pool.map(lambda layer: find_layer(build, layer), reusable))
    return next((checkpoint for checkpoint in reversed(found) if checkpoint is not None), None)


@step_task("reuse-layer", "Layer {name}")
def _reuse(name: str, checkpoint: str) -> State[str]:
    """Ends as *Cached*, as a reused result does in Prefect's UI."""
    run_logger().info("layer %s: %s", name, checkpoint)
    return Completed(name="Cached", message=f"from checkpoint {checkpoint}", data=checkpoint)


def show_reused(build: Build, plan: BuildPlan, start: Checkpoint) -> None:
    """Count the layers up to a checkpoint as reused: in the timings, the log and the run's page."""
    for layer in plan.layers:
        if not any(step.layer == layer.name.value for step in build.timings.steps):
            with build.timings.step(f"layer {layer.name.value} {layer.fingerprint[:12]}", layer=layer.name.value) as step:
                step.outcome = "reused"
                _reuse(layer.name.value, start.name)
        if layer.fingerprint == start.fingerprint:
            return
