"""Fill the blob cache with what the lock names, while the VM boots and patches."""

from __future__ import annotations

from tasks.build import Build
from tasks.step_task import step_task
from tasks.supply import Artifact, ArtifactSupply


@step_task("fetch-artifacts", "Fetch artifacts")
def fetch_artifacts(build: Build, supply: ArtifactSupply, artifacts: tuple[Artifact, ...]) -> None:
    """Bring every artifact into the cache; stages that need one wait for that one only. Raises ArtifactError."""
    with build.timings.step(f"fetch {len(artifacts)} artifacts into the blob cache") as step:
        supply.fill(artifacts, step.progress)
        step.progress(f"{supply.fetched_bytes} bytes fetched, the rest was cached")
