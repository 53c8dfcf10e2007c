"""While a build runs, its checkpoints are in use: nothing may prune them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from images.errors import CloudError
from images.plan import BuildPlan
from infra.azure.live_plans import LivePlans
from tasks.build import Build
from tasks.progress import run_logger


@contextmanager
def plan_announced(build: Build, plan: BuildPlan) -> Iterator[None]:
    """Announce the plan's layers for the block, at most until the build's expiry. Raises CloudError when that is refused."""
    plans = LivePlans(build.cloud, container=build.builds_container)
    plans.announce(build.build_id, (layer.fingerprint for layer in plan.layers if layer.reusable), build.tags.expires_at)
    try:
        yield
    finally:
        try:
            plans.withdraw(build.build_id)
        except CloudError as error:
            run_logger().warning("the build's plan stays announced until its expiry: %s", error)
