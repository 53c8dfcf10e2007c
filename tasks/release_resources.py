"""Delete what a build left in the cloud, for runs that could not do it themselves."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from prefect import Flow
from prefect.client.schemas.objects import FlowRun, State

from images.errors import BuildError
from infra.azure.reaper import reap
from infra.azure.resource_group import begin_delete_group, groups_of_run
from infra.azure.session import open_cloud
from infra.profiles import load_profile


def release_resources(flow: Flow[Any, Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Hook for cancelled and crashed runs: begin deleting the resource groups that carry the run's id. Safe to run twice, and beside the
    flow's own clean-up.

    Prefect calls hooks by keyword: flow, flow_run, state (https://docs.prefect.io/v3/how-to-guides/workflows/state-change-hooks).
    """
    logger = logging.getLogger("winvhd")
    try:
        with open_cloud(load_profile(str(flow_run.parameters.get("cloud", "local")))) as cloud:
            for name in groups_of_run(cloud, str(flow_run.id)):
                begin_delete_group(cloud, name)
    except BuildError as error:
        # A hook can not fail a run that has ended; the reaper takes the group at its expiry.
        logger.warning("%s of %s: could not delete its resource groups: %s", state.name, flow.name, error)


def reap_expired(cloud_name: str, on_event: Callable[[str], None], now: datetime | None = None) -> list[str]:
    """Names of the resource groups of ours whose expiry has passed, and which are now being deleted. Raises CloudError."""
    with open_cloud(load_profile(cloud_name)) as cloud:
        return [group.name for group in reap(cloud, now or datetime.now(UTC), on_event)]
