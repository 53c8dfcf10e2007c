"""The resource group of one build: everything the build makes lies in it and goes with it."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING

from images.errors import CloudError, ConfigurationError
from infra.azure.refusals import refusals
from infra.azure.session import Cloud
from infra.azure.tags import BUILD_ID, FLOW_RUN_ID, BuildTags, is_ours

if TYPE_CHECKING:
    from azure.mgmt.resource.resources.models import ResourceGroup

DELETE_DEADLINE_S = 3600
# https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules
_GROUP_NAME = re.compile(r"[-\w._()]{0,89}[-\w_()]", re.ASCII)


def group_name(prefix: str, build_id: str) -> str:
    """`<prefix>-<build_id>`; ConfigurationError when Azure would not take it as a resource group's name."""
    name = f"{prefix}-{build_id}"
    if not _GROUP_NAME.fullmatch(name):
        raise ConfigurationError(
            f"{name!r} is not a name for a resource group",
            hint="resource_group_prefix and build id: letters, digits, - _ . ( ), at most 90 characters together, no . at the end",
        )
    return name


def ensure_group(cloud: Cloud, tags: BuildTags) -> str:
    """The name of the build's resource group, made when absent; its tags are renewed. Raises CloudError."""
    name = group_name(cloud.profile.resource_group_prefix, tags.build_id)
    existing = find_group(cloud, tags.build_id)
    if existing is not None and (existing.tags or {}).get(BUILD_ID) != tags.build_id:
        raise ConfigurationError(
            f"resource group {name} belongs to somebody else: it has no tag {BUILD_ID}={tags.build_id}",
            hint="choose another resource_group_prefix in the profile; winvhd never builds in, or deletes, a group it did not make",
        )
    with refusals(f"make resource group {name}"):
        cloud.resources.resource_groups.create_or_update(name, {"location": cloud.profile.location, "tags": tags.to_azure()})
    return name


def find_group(cloud: Cloud, build_id: str) -> ResourceGroup | None:
    """The build's resource group, or None. Raises CloudError."""
    from azure.core.exceptions import ResourceNotFoundError

    name = group_name(cloud.profile.resource_group_prefix, build_id)
    with refusals(f"look up resource group {name}"):
        try:
            return cloud.resources.resource_groups.get(name)
        except ResourceNotFoundError:
            return None


def groups_of_run(cloud: Cloud, flow_run_id: str) -> list[str]:
    """Names of our resource groups that carry a flow run's id and are not being deleted yet. Raises CloudError."""
    with refusals(f"list the resource groups of run {flow_run_id}"):
        groups = cloud.resources.resource_groups.list(filter=f"tagName eq '{FLOW_RUN_ID}' and tagValue eq '{flow_run_id}'")
        return [
            group.name
            for group in groups
            # Checked again here: the filter is a courtesy of the server, deleting is not undone.
            if group.name
            and is_ours(group.tags)
            and (group.tags or {}).get(FLOW_RUN_ID) == flow_run_id
            and not (group.properties and group.properties.provisioning_state == "Deleting")
        ]


def delete_group(cloud: Cloud, build_id: str, *, wait: bool = True) -> None:
    """Delete the build's resource group with all that is in it; absent is fine. Raises CloudError."""
    group = find_group(cloud, build_id)
    # A group without our tag is somebody else's, whatever its name.
    if group is None or (group.tags or {}).get(BUILD_ID) != build_id:
        return
    begin_delete_group(cloud, group_name(cloud.profile.resource_group_prefix, build_id), wait=wait)


def begin_delete_group(cloud: Cloud, name: str, *, wait: bool = False) -> None:
    """Start deleting a resource group, and follow it to its end when asked to; absent is fine. Raises CloudError."""
    # Forced for VMs: a group may be deleted because its VM hangs, and then a clean shutdown would never end.
    forced = "Microsoft.Compute/virtualMachines"
    groups = cloud.resources.resource_groups
    what = f"delete resource group {name}"
    try:
        if wait:
            cloud.wait.finish(
                what,
                lambda polling: groups.begin_delete(name, force_deletion_types=forced, polling=polling),
                deadline_s=DELETE_DEADLINE_S,
            )
        else:
            with refusals(what):
                groups.begin_delete(name, force_deletion_types=forced, polling=False)
    except CloudError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
