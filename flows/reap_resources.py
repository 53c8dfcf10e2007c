"""The reaper: what killed builds left in the cloud goes when its expiry has passed."""

from __future__ import annotations

from prefect import flow
from prefect.artifacts import create_table_artifact

from flows.choices import CloudName
from tasks.progress import run_logger
from tasks.release_resources import reap_expired


@flow(name="reap-resources", flow_run_name="reap {cloud}", description="Deletes resource groups of ours whose expiry has passed.")
def reap_resources(cloud: CloudName = "local") -> list[str]:
    """Delete what killed builds left behind; looks only at the cloud, so it needs nobody's memory.

    Args:
        cloud: The cloud to look at.
    """
    names = reap_expired(cloud, run_logger().info)
    create_table_artifact([{"resource group": name} for name in names], key="reaped-resource-groups", description=f"{len(names)} expired")
    return names
