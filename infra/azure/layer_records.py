"""What each checkpointed layer was made from, in blob storage: a later plan tells from it what has changed since."""

from __future__ import annotations

from pydantic import ValidationError

from images.layer_record import LayerRecord
from infra.azure.blob_storage import BUILDS_CONTAINER
from infra.azure.refusals import refusals
from infra.azure.session import Cloud

_NEWEST = 50
"""A layer's records that are read at most: the nearest checkpoint is among the latest, and every record is a request."""


class LayerRecords:
    """Records under layers/<layer>/<fingerprint>.json. A record is written before its checkpoint, so each checkpoint has one.

    It outlives its checkpoint: what has changed since is worth knowing also where nothing is left to start from.
    """

    def __init__(self, cloud: Cloud, *, container: str = BUILDS_CONTAINER) -> None:
        self._cloud = cloud
        self._container = container

    def put(self, record: LayerRecord) -> None:
        """Keep a record; one of the same fingerprint is replaced. Raises CloudError."""
        from azure.storage.blob import ContentSettings

        name = _name(record.layer, record.fingerprint)
        settings = ContentSettings(content_type="application/json")
        with refusals(f"record layer {record.layer}"), self._cloud.blobs().get_blob_client(self._container, name) as blob:
            blob.upload_blob(record.model_dump_json().encode(), overwrite=True, content_settings=settings)

    def of_layer(self, layer: str, *, newest: int = _NEWEST) -> list[LayerRecord]:
        """The latest records of a layer, newest first; unreadable ones are left out. Raises CloudError."""
        with (
            refusals(f"list the records of layer {layer}"),
            self._cloud.blobs().get_container_client(self._container) as container,
        ):
            blobs = sorted(
                container.list_blobs(name_starts_with=_name(layer, "").removesuffix(".json")),
                key=lambda blob: (blob.last_modified, blob.name),
                reverse=True,
            )
        records = (self._read(blob.name) for blob in blobs[:newest])
        return [record for record in records if record is not None]

    def _read(self, name: str) -> LayerRecord | None:
        from azure.core.exceptions import ResourceNotFoundError

        with refusals("read a layer's record"), self._cloud.blobs().get_blob_client(self._container, name) as blob:
            try:
                content = blob.download_blob().readall()
            except ResourceNotFoundError:
                return None
        try:
            return LayerRecord.model_validate_json(content)
        except ValidationError:
            # Of another version of this program: it explains nothing, and is no reason not to build.
            return None


def _name(layer: str, fingerprint: str) -> str:
    return f"layers/{layer}/{fingerprint}.json"
