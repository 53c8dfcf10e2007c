"""Fill the blob cache with what the lock names, while the VM boots and patches."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.build import Build
from tasks.supply import Artifact, ArtifactSupply


@task(name="fetch-artifacts", task_run_name="Fetch artifacts", cache_policy=NO_CACHE, persist_result=False)
def fetch_artifacts(build: Build, supply: ArtifactSupply, artifacts: tuple[Artifact, ...]) -> None:
    """Bring every artifact into the cache; stages that need one wait for that one only. Raises ArtifactError."""
    with build.timings.step(f"fetch {len(artifacts)} artifacts into the blob cache") as step:
        supply.fill(artifacts, step.progress)
        step.progress(f"{supply.fetched_bytes} bytes fetched, the rest was cached")
