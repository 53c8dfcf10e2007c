"""Which build has which image version: one small blob a version, whose creation is the fence; and what was on each released version."""

from __future__ import annotations

import json

from pydantic import ValidationError

from images.inventory import Inventory
from images.privacy import MARK_KEY, PRIVATE, Evidence, mark_of, refuse_private
from infra.azure.blob_storage import BUILDS_CONTAINER
from infra.azure.refusals import refusals
from infra.azure.session import Cloud


class VersionRegister:
    """Versions in the builds container: given out under versions/<image>/<version>, released under releases/<image>/<version>.json."""

    def __init__(self, cloud: Cloud, *, container: str = BUILDS_CONTAINER) -> None:
        self._cloud = cloud
        self._container = container

    def claim(self, image: str, version: str, build_id: str) -> str:
        """The build that owns the version afterwards: this one when it was free. Raises CloudError."""
        from azure.core.exceptions import ResourceExistsError

        name = f"versions/{image}/{version}"
        with refusals(f"reserve version {version}"), self._cloud.blobs().get_blob_client(self._container, name) as blob:
            try:
                blob.upload_blob(build_id.encode(), overwrite=False)
            except ResourceExistsError:
                return blob.download_blob().readall().decode()
        return build_id

    def release(self, image: str, version: str, inventory: bytes) -> None:
        """Remember what is on a version that passed its tests; the same version again replaces it.

        Raises CloudError, and PrivateImageError for an image with the mark of private work in its inventory or such a name.
        """
        refuse_private("record a release", Evidence(names=(image, self._container), mark=_mark(inventory)))
        from azure.storage.blob import ContentSettings

        settings = ContentSettings(content_type="application/json")
        with (
            refusals(f"record release {version}"),
            self._cloud.blobs().get_blob_client(self._container, _release_name(image, version)) as blob,
        ):
            blob.upload_blob(inventory, overwrite=True, content_settings=settings)

    def previous(self, image: str, version: str) -> tuple[str, bytes] | None:
        """The newest released version of an image below this one, with its inventory; None when there is none. Raises CloudError."""
        from azure.core.exceptions import ResourceNotFoundError

        start = f"releases/{image}/"
        with refusals("look for the previous release"), self._cloud.blobs().get_container_client(self._container) as container:
            try:
                names = [blob.name.removeprefix(start).removesuffix(".json") for blob in container.list_blobs(name_starts_with=start)]
            except ResourceNotFoundError:
                # A private build may be the first in an account: it has a container of its own.
                return None
            # Versions compare as numbers: 20348.900 is older than 20348.5499.
            earlier = [name for name in names if _numbers(name) < _numbers(version)]
            if not earlier:
                return None
            newest = max(earlier, key=_numbers)
            return newest, container.download_blob(_release_name(image, newest)).readall()


def _mark(inventory: bytes) -> str | None:
    try:
        return mark_of(Inventory.model_validate_json(inventory))
    except ValidationError:
        # Of another version of this program: that it lists the key is enough of a sign.
        return PRIVATE if json.dumps(MARK_KEY).strip('"').lower().encode() in inventory.lower() else None


def _release_name(image: str, version: str) -> str:
    return f"releases/{image}/{version}.json"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
