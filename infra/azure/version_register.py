"""Which build has which image version: one small blob a version, whose creation is the fence."""

from __future__ import annotations

from infra.azure.blob_storage import BUILDS_CONTAINER
from infra.azure.refusals import refusals
from infra.azure.session import Cloud


class VersionRegister:
    """Versions that were given out, in the builds container under versions/<image>/<version>."""

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
