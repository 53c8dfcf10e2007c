"""The reaper: what killed builds left goes when its expiry has passed, private work too, and checkpoints that nobody needs."""

from __future__ import annotations

from collections.abc import Callable

from prefect import flow
from prefect.artifacts import create_table_artifact

from flows.choices import CloudName
from images.errors import BuildError
from images.retention import KEPT_OF_EACH
from infra.azure.session import open_cloud
from infra.profiles import load_profile
from tasks.progress import run_logger
from tasks.prune_checkpoints import prune_checkpoints
from tasks.purge_private import purge_expired, refuse_leftovers
from tasks.release_resources import reap_expired


@flow(
    name="reap-resources",
    flow_run_name="reap {cloud}",
    description="Deletes resource groups and private work whose expiry has passed, and checkpoints that are broken, expired or old.",
)
def reap_resources(cloud: CloudName = "local", keep: int = KEPT_OF_EACH) -> list[str]:
    """What was deleted, by name: resource groups, private work, checkpoints. It looks only at the cloud, so it needs nobody's memory.

    Args:
        cloud: The cloud to look at.
        keep: How many checkpoints of each image and layer stay, the newest first. Those that a build uses stay besides.
    """
    steps: tuple[Callable[[], list[str]], ...] = (lambda: _reap_groups(cloud), lambda: _purge(cloud), lambda: _prune(cloud, keep))
    gone: list[str] = []
    errors: list[BuildError] = []
    for step in steps:
        try:
            gone += step()
        except BuildError as error:
            # What one of them can not do does not keep the others from their work.
            run_logger().error("%s", error)
            errors.append(error)
    if errors:
        raise errors[0]
    return gone


def _reap_groups(cloud: CloudName) -> list[str]:
    names = reap_expired(cloud, run_logger().info)
    create_table_artifact([{"resource group": name} for name in names], key="reaped-resource-groups", description=f"{len(names)} expired")
    return names


def _purge(cloud: CloudName) -> list[str]:
    with open_cloud(load_profile(cloud)) as session:
        purged = purge_expired(session, run_logger().info)
    rows = [
        {"scope": one.scope, "deleted": "; ".join(one.deleted) or "nothing", "not deleted": "; ".join(one.problems) or "nothing"}
        for one in purged
    ]
    create_table_artifact(rows, key="purged-private-work", description=f"{len(purged)} expired")
    refuse_leftovers(purged)
    return [one.scope for one in purged]


def _prune(cloud: CloudName, keep: int) -> list[str]:
    with open_cloud(load_profile(cloud)) as session:
        report = prune_checkpoints(session, keep=keep, on_event=run_logger().info)
    deleted = report.named("deleted")
    create_table_artifact(
        [
            {
                "layer": checkpoint.layer,
                "image": checkpoint.image,
                "fingerprint": checkpoint.fingerprint[:12],
                "GiB": checkpoint.size_gib,
                "state": checkpoint.state,
                "action": checkpoint.action,
                "why": checkpoint.reason,
            }
            for checkpoint in report.checkpoints
        ],
        key="checkpoints",
        description=f"{len(deleted)} of {len(report.checkpoints)} checkpoints deleted",
    )
    report.refuse_refusals()
    return deleted
