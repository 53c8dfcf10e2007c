"""While a build runs, its checkpoints are in use: nothing may prune them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

from images.errors import CloudError
from images.plan import BuildPlan
from images.stages.contract import LayerName
from infra.azure.checkpoint_name import PUBLIC
from infra.azure.live_plans import LivePlans
from tasks.build import Build
from tasks.progress import run_logger


@contextmanager
def plan_announced(build: Build, plan: BuildPlan) -> Iterator[None]:
    """Announce the plan's layers for the block, at most until the build's expiry. Raises CloudError when that is refused."""
    announced = [(LivePlans(build.cloud, container=build.builds_container), build.build_id, plan.layers)]
    if build.scope != PUBLIC:
        # It may start from public checkpoints, whose pruning looks at the public announcements: without a name, and without the fix.
        nobody = f"private-{hashlib.sha256(build.build_id.encode()).hexdigest()[:12]}"
        common = tuple(layer for layer in plan.layers if layer.name is not LayerName.FIX)
        announced.append((LivePlans(build.cloud), nobody, common))
    for plans, name, layers in announced:
        plans.announce(name, (layer.fingerprint for layer in layers if layer.reusable), build.tags.expires_at)
    try:
        yield
    finally:
        for plans, name, _ in announced:
            try:
                plans.withdraw(name)
            except CloudError as error:
                run_logger().warning("the build's plan stays announced until its expiry: %s", error)
