"""Deletes private work: at its expiry by the reaper, at once when a person says so."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime

from images.errors import BuildError
from images.privacy import is_private_scope
from infra.azure.private_container import delete_private_container, private_containers
from infra.azure.refusals import refusals
from infra.azure.resource_group import begin_delete_group
from infra.azure.session import Cloud
from infra.azure.tags import CREATED_BY, CREATOR, SCOPE, is_ours
from infra.checkout import output_folder

OnEvent = Callable[[str], None]


def private_scopes(cloud: Cloud) -> dict[str, datetime | None]:
    """The scopes of private work that is anywhere in the cloud, each with its expiry; None when only resource groups are left of it.

    Raises CloudError.
    """
    scopes: dict[str, datetime | None] = {container.scope: container.expires_at for container in private_containers(cloud)}
    for scope in _groups(cloud).values():
        scopes.setdefault(scope, None)
    return scopes


def purge_scope(cloud: Cloud, scope: str, on_event: OnEvent) -> None:
    """Delete everything of a private scope: VMs, disks, checkpoints, blobs, and what a build left on this machine.

    Everything is tried; raises the first CloudError at the end.
    """
    first: BuildError | None = None
    for group, owner in _groups(cloud).items():
        if owner == scope:
            on_event(f"deleting resource group {group}")
            first = _tried(lambda group=group: begin_delete_group(cloud, group, wait=cloud.profile.name == "local"), first)  # type: ignore[misc]
    on_event(f"deleting container {scope}")
    first = _tried(lambda: delete_private_container(cloud, scope), first)
    shutil.rmtree(output_folder() / scope, ignore_errors=True)
    if first is not None:
        raise first


def purge_expired(cloud: Cloud, on_event: OnEvent, now: datetime | None = None) -> list[str]:
    """Delete the private work whose expiry has passed, and give its scopes. Raises the first CloudError after all were tried."""
    now, purged = now or datetime.now(UTC), []
    first: BuildError | None = None
    for container in private_containers(cloud):
        if container.expires_at <= now:
            first = _tried(lambda scope=container.scope: purge_scope(cloud, scope, on_event), first)  # type: ignore[misc]
            purged.append(container.scope)
    if first is not None:
        raise first
    return purged


def _tried(action: Callable[[], None], first: BuildError | None) -> BuildError | None:
    try:
        action()
    except BuildError as error:
        return first or error
    return first


def _groups(cloud: Cloud) -> dict[str, str]:
    """Resource groups of ours with private work, by name, and whose they are."""
    with refusals("list resource groups"):
        groups = cloud.resources.resource_groups.list(filter=f"tagName eq '{CREATED_BY}' and tagValue eq '{CREATOR}'")
        return {
            group.name: tags[SCOPE]
            for group in groups
            # Checked again here: the filter is a courtesy of the server, deleting is not undone.
            if group.name and is_ours(tags := group.tags or {}) and is_private_scope(tags.get(SCOPE, ""))
        }
