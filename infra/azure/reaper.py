"""Deletes what builds left behind: resource groups of ours whose expiry has passed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from images.errors import CloudError
from infra.azure.refusals import refusals
from infra.azure.resource_group import begin_delete_group
from infra.azure.session import Cloud
from infra.azure.tags import BUILD_ID, CREATED_BY, CREATOR, SCOPE, expiry, is_ours


@dataclass(frozen=True)
class ExpiredGroup:
    """A resource group whose expiry has passed."""

    name: str
    build_id: str
    scope: str
    expired_at: datetime


def expired_groups(cloud: Cloud, now: datetime) -> list[ExpiredGroup]:
    """The expired resource groups of ours, oldest first; a group with an unreadable expiry is left to a person. Raises CloudError."""
    found = []
    with refusals("list resource groups"):
        for group in cloud.resources.resource_groups.list(filter=f"tagName eq '{CREATED_BY}' and tagValue eq '{CREATOR}'"):
            tags = group.tags or {}
            expires_at = expiry(tags)
            state = group.properties.provisioning_state if group.properties else None
            # Checked again here: the filter is a courtesy of the server, deleting is not undone.
            if not group.name or not is_ours(tags) or not isinstance(expires_at, datetime) or state == "Deleting":
                continue
            if expires_at <= now:
                found.append(ExpiredGroup(group.name, tags.get(BUILD_ID, ""), tags.get(SCOPE, ""), expires_at))
    return sorted(found, key=lambda group: (group.expired_at, group.name))


def reap(cloud: Cloud, now: datetime | None = None, on_event: Callable[[str], None] = lambda _: None) -> list[ExpiredGroup]:
    """Begin to delete every expired group; one that Azure refuses does not save the others. Raises the first CloudError at the end."""
    now = now or datetime.now(UTC)
    groups = expired_groups(cloud, now)
    first_error: CloudError | None = None
    for group in groups:
        on_event(f"deleting {group.name}: expired {group.expired_at.isoformat()}")
        try:
            begin_delete_group(cloud, group.name)
        except CloudError as error:
            on_event(f"could not delete {group.name}: {error}")
            first_error = first_error or error
    if first_error is not None:
        raise first_error
    return groups
