"""The storage container of private work: everything that tells about it lies there, and goes with it at its expiry."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus

from images.errors import CloudError
from images.privacy import PRIVATE, SCOPE_FIELD, is_private_scope
from infra.azure.blob_storage import ensure_container
from infra.azure.private_mark import mark_container
from infra.azure.refusals import refusals
from infra.azure.session import Cloud
from infra.azure.tags import format_time

_EXPIRES_AT = "winvhd_expires_at"


@dataclass(frozen=True)
class PrivateContainer:
    """A container of ours with private work; a name that only looks like one is nobody's business."""

    scope: str
    expires_at: datetime


def open_private_container(cloud: Cloud, scope: str, expires_at: datetime) -> None:
    """Make the container of a scope, marked with the scope and when it goes; an earlier expiry is moved. Raises CloudError."""
    ensure_container(cloud, scope)
    mark_container(cloud, scope, scope)
    with refusals(f"mark container {scope} with its expiry"), cloud.blobs().get_container_client(scope) as place:
        place.set_container_metadata({**(place.get_container_properties().metadata or {}), _EXPIRES_AT: format_time(expires_at)})


def private_containers(cloud: Cloud) -> list[PrivateContainer]:
    """Our containers with private work, soonest expiry first. Raises CloudError."""
    found = []
    with refusals("list the private containers"):
        for container in cloud.blobs().list_containers(name_starts_with=f"{PRIVATE}-", include_metadata=True):
            metadata = container.metadata or {}
            if metadata.get(SCOPE_FIELD) != container.name or not is_private_scope(str(container.name)):
                continue
            try:
                expires_at = datetime.fromisoformat(metadata.get(_EXPIRES_AT, ""))
            except ValueError:
                # Made by a run that ended before it could write the expiry, or changed by a person: private work never outlives doubt.
                expires_at = datetime.min.replace(tzinfo=UTC)
            found.append(PrivateContainer(str(container.name), expires_at))
    return sorted(found, key=lambda container: (container.expires_at, container.scope))


def delete_private_container(cloud: Cloud, scope: str) -> None:
    """Delete the container of a scope with all that is in it; absent is fine. Raises CloudError."""
    try:
        with refusals(f"delete container {scope}"):
            cloud.blobs().delete_container(scope)
    except CloudError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
