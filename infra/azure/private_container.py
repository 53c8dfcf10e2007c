"""The storage container of private work: everything that tells about it lies there, and goes with it at its expiry."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus

from images.errors import CloudError, PrivateImageError
from images.privacy import PRIVATE, SCOPE_FIELD, is_private_scope
from infra.azure.blob_storage import BEING_DELETED, ensure_container
from infra.azure.live_plans import announced_build
from infra.azure.refusals import refusals
from infra.azure.session import Cloud
from infra.azure.tags import format_time

_EXPIRES_AT = "winvhd_expires_at"


@dataclass(frozen=True)
class PrivateContainer:
    """A container of ours with private work; a name that only looks like one is nobody's business."""

    scope: str
    expires_at: datetime


@dataclass(frozen=True)
class ContainerContents:
    """What lies in a private container."""

    blobs: int = 0
    size_bytes: int = 0
    running: tuple[str, ...] = ()
    """Builds that announced their plan and did not withdraw it: they run, or were killed."""


def open_private_container(cloud: Cloud, scope: str, expires_at: datetime) -> None:
    """Make the container of a scope, marked with the scope and when it goes; what it said before is replaced.

    Waits while an earlier container of that name is being deleted. Raises CloudError, PrivateImageError for what is no private scope.
    """
    _must_be_private(scope)
    ensure_container(cloud, scope)
    with refusals(f"mark container {scope}"), cloud.blobs().get_container_client(scope) as place:
        # Both at once: a container that knows its scope and not its expiry would be taken for an expired one.
        place.set_container_metadata(
            {**(place.get_container_properties().metadata or {}), SCOPE_FIELD: scope, _EXPIRES_AT: format_time(expires_at)}
        )


def private_containers(cloud: Cloud) -> list[PrivateContainer]:
    """Our containers with private work, soonest expiry first. Raises CloudError."""
    found = []
    with refusals("list the private containers"):
        for container in cloud.blobs().list_containers(name_starts_with=f"{PRIVATE}-", include_metadata=True):
            # Azure gives metadata back in another case than it was written in.
            metadata = {name.lower(): value for name, value in (container.metadata or {}).items()}
            if metadata.get(SCOPE_FIELD) == container.name:
                found.append(PrivateContainer(str(container.name), _moment(metadata.get(_EXPIRES_AT, ""))))
    return sorted(found, key=lambda container: (container.expires_at, container.scope))


def contents_of(cloud: Cloud, scope: str) -> ContainerContents:
    """What lies in the container of a scope, nothing when there is none. Raises CloudError."""
    try:
        with refusals(f"list container {scope}"), cloud.blobs().get_container_client(scope) as place:
            blobs = list(place.list_blobs())
    except CloudError as error:
        if error.status == HTTPStatus.NOT_FOUND or error.code == BEING_DELETED:
            return ContainerContents()
        raise
    running = [build_id for blob in blobs if (build_id := announced_build(blob.name))]
    return ContainerContents(len(blobs), sum(int(blob.size or 0) for blob in blobs), tuple(sorted(running)))


def delete_private_container(cloud: Cloud, scope: str) -> bool:
    """Delete the container of a scope with all that is in it; False when it was not there.

    Raises CloudError, PrivateImageError for what is no private scope: another container must not go by a slip of the pen.
    """
    _must_be_private(scope)
    try:
        with refusals(f"delete container {scope}"):
            cloud.blobs().delete_container(scope)
    except CloudError as error:
        if error.status != HTTPStatus.NOT_FOUND and error.code != BEING_DELETED:
            raise
        return False
    return True


def _must_be_private(scope: str) -> None:
    if not is_private_scope(scope) or not scope.startswith(f"{PRIVATE}-"):
        raise PrivateImageError(f"{scope!r} is not a scope of private work", hint=f"scopes of private work are called {PRIVATE}-<id>")


def _moment(text: str) -> datetime:
    """A time with its zone, UTC when it has none; the earliest of all when it can not be read: private work never outlives doubt."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
