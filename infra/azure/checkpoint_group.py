"""The resource groups of checkpoints: a standing one for public builds, one that ends with its scope for each private build."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from images.errors import ConfigurationError
from infra.azure.checkpoint_name import PUBLIC, checkpoint_group, group_tags
from infra.azure.refusals import refusals
from infra.azure.session import Cloud
from infra.azure.tags import SCOPE, expiry, is_ours

if TYPE_CHECKING:
    from azure.mgmt.resource.resources.models import ResourceGroup


def ensure_checkpoint_group(cloud: Cloud, scope: str, expires_at: datetime | None) -> str:
    """The name of the group of a scope's checkpoints, made when absent.

    The public one has no expiry, so the reaper leaves it; a private one lives until the latest expiry that was asked for. Raises
    ConfigurationError for a private scope without expiry or a group that somebody else made, CloudError for refusals.
    """
    name = checkpoint_group(cloud.profile.resource_group_prefix, scope)
    if scope == PUBLIC:
        expires_at = None
    elif expires_at is None:
        raise ConfigurationError(f"checkpoints of {scope} need an expiry", hint="private work is deleted at a known time: give expires_at")
    existing = _find(cloud, name)
    if existing is not None:
        if not is_ours(existing.tags) or (existing.tags or {}).get(SCOPE) != scope:
            raise ConfigurationError(
                f"resource group {name} belongs to somebody else: its tags are not those of checkpoints of {scope}",
                hint="choose another resource_group_prefix in the profile; winvhd keeps nothing in a group it did not make",
            )
        lives_until = expiry(existing.tags)
        if expires_at is None or (isinstance(lives_until, datetime) and lives_until >= expires_at):
            return name
    with refusals(f"make resource group {name}"):
        body = {"location": cloud.profile.location, "tags": group_tags(scope, expires_at)}
        cloud.resources.resource_groups.create_or_update(name, body)
    return name


def _find(cloud: Cloud, name: str) -> ResourceGroup | None:
    from azure.core.exceptions import ResourceNotFoundError

    with refusals(f"look up resource group {name}"):
        try:
            return cloud.resources.resource_groups.get(name)
        except ResourceNotFoundError:
            return None
