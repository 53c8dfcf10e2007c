"""Images that were built and passed their tests, found again by what they were made from."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field, JsonValue, ValidationError

from images.frozen import Frozen
from infra.azure.blob_storage import BUILDS_CONTAINER
from infra.azure.disk_capture import CapturedVhd
from infra.azure.refusals import refusals
from infra.azure.session import Cloud


class BuiltRecord(Frozen):
    """One finished image."""

    image: str
    plan_digest: str = Field(description="SHA-256 over the plan it was built by.")
    build_id: str
    image_version: str
    built_at: datetime
    container: str
    blob_name: str
    url: str
    sha256: str
    size_bytes: int
    data_bytes: int
    etag: str = Field(description="The VHD blob's ETag when the record was written: every write to the blob changes it.")
    summary: dict[str, JsonValue] = Field(description="The result that its build returned.")

    @property
    def captured(self) -> CapturedVhd:
        """Its VHD."""
        return CapturedVhd(self.container, self.blob_name, self.url, self.sha256, self.size_bytes, self.data_bytes, "there")


class BuiltImages:
    """Small JSON blobs, built/<image>/<plan digest>.json; the newest build of a plan replaces the one before."""

    def __init__(self, cloud: Cloud, *, container: str = BUILDS_CONTAINER) -> None:
        self._cloud = cloud
        self._container = container

    def etag(self, captured: CapturedVhd) -> str:
        """The VHD's ETag now. Raises CloudError."""
        with refusals("look at the VHD"), self._cloud.blobs().get_blob_client(captured.container, captured.blob_name) as vhd:
            return str(vhd.get_blob_properties().etag)

    def record(self, record: BuiltRecord) -> None:
        """Remember a finished image. Raises CloudError."""
        from azure.storage.blob import ContentSettings

        name = _name(record.image, record.plan_digest)
        with (
            refusals(f"record image {record.image_version}"),
            self._cloud.blobs().get_blob_client(self._container, name) as blob,
        ):
            content = record.model_dump_json().encode()
            blob.upload_blob(content, overwrite=True, content_settings=ContentSettings(content_type="application/json"))

    def find(self, image: str, plan_digest: str) -> BuiltRecord | None:
        """The image of a plan whose VHD is still there, with the hash it had; None when there is none. Raises CloudError."""
        from azure.core.exceptions import ResourceNotFoundError

        with refusals(f"look for an earlier build of {image}"):
            with self._cloud.blobs().get_blob_client(self._container, _name(image, plan_digest)) as blob:
                try:
                    content = blob.download_blob().readall()
                except ResourceNotFoundError:
                    return None
            try:
                record = BuiltRecord.model_validate_json(content)
            except ValidationError:
                # Of an older schema: building again costs time, trusting it might cost more.
                return None
            with self._cloud.blobs().get_blob_client(record.container, record.blob_name) as vhd:
                try:
                    properties = vhd.get_blob_properties()
                except ResourceNotFoundError:
                    return None
        untouched = properties.etag == record.etag and properties.size == record.size_bytes
        return record if untouched and (record.image, record.plan_digest) == (image, plan_digest) else None


def _name(image: str, plan_digest: str) -> str:
    return f"built/{image}/{plan_digest}.json"
