"""Which fingerprints running builds still need, so that nobody prunes a checkpoint that is about to be used."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from pydantic import AwareDatetime, ValidationError

from images.errors import ConfigurationError
from images.frozen import Frozen
from infra.azure.blob_storage import BUILDS_CONTAINER
from infra.azure.refusals import refusals
from infra.azure.session import Cloud
from infra.azure.tags import format_time

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

_FOLDER = "live/"


class _Announcement(Frozen):
    build_id: str
    fingerprints: tuple[str, ...]
    expires_at: AwareDatetime


class LivePlans:
    """Announcements of running builds under live/<build id>.json; one that nobody withdrew expires."""

    def __init__(self, cloud: Cloud, *, container: str = BUILDS_CONTAINER) -> None:
        self._cloud = cloud
        self._container = container

    def announce(self, build_id: str, fingerprints: Iterable[str], expires_at: datetime) -> None:
        """Say which fingerprints a build needs until `expires_at`, in the place of what it said before. Raises CloudError."""
        from azure.storage.blob import ContentSettings

        content = {"build_id": build_id, "fingerprints": sorted(set(fingerprints)), "expires_at": format_time(expires_at)}
        settings = ContentSettings(content_type="application/json")
        with refusals("announce the build's plan"), self._cloud.blobs().get_blob_client(self._container, _name(build_id)) as blob:
            blob.upload_blob(json.dumps(content).encode(), overwrite=True, content_settings=settings)

    def withdraw(self, build_id: str) -> None:
        """The build needs nothing any more; nothing happens when it had announced nothing. Raises CloudError."""
        from azure.core.exceptions import ResourceNotFoundError

        with refusals("withdraw the build's plan"), self._cloud.blobs().get_blob_client(self._container, _name(build_id)) as blob:
            try:
                blob.delete_blob()
            except ResourceNotFoundError:
                return

    def in_use(self, now: datetime) -> set[str]:
        """The fingerprints that some build needs at this time; deletes announcements that have expired.

        Raises CloudError, or ConfigurationError for a blob that is no announcement: what it protects can not be known.
        """
        with refusals("read the plans of running builds"), self._cloud.blobs().get_container_client(self._container) as container:
            names = [blob.name for blob in container.list_blobs(name_starts_with=_FOLDER)]
            return {fingerprint for name in names for fingerprint in _needed(container, name, now)}


def _needed(container: ContainerClient, name: str, now: datetime) -> tuple[str, ...]:
    from azure.core import MatchConditions
    from azure.core.exceptions import ResourceModifiedError, ResourceNotFoundError

    while True:
        try:
            found = container.download_blob(name)
            said = _parse(name, found.readall())
            if said.expires_at > now:
                return said.fingerprints
            container.delete_blob(name, etag=found.properties.etag, match_condition=MatchConditions.IfNotModified)
        except ResourceNotFoundError:
            # Withdrawn since it was listed.
            return ()
        except ResourceModifiedError:
            # Announced anew since it was read.
            continue
        return ()


def announced_build(blob_name: str) -> str | None:
    """The build whose announcement a blob is, None for any other blob."""
    inside = blob_name.startswith(_FOLDER) and blob_name.endswith(".json")
    return blob_name.removeprefix(_FOLDER).removesuffix(".json") if inside else None


def _name(build_id: str) -> str:
    return f"{_FOLDER}{build_id}.json"


def _parse(name: str, content: bytes) -> _Announcement:
    try:
        return _Announcement.model_validate_json(content)
    except ValidationError:
        raise ConfigurationError(
            f"the blob {name} does not say which checkpoints a running build needs", hint="look at it, and delete it if no build runs"
        ) from None
