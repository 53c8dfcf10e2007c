"""How long the steps of past builds took, in blob storage, for the minutes that a plan promises."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from pydantic import TypeAdapter, ValidationError

from images.timings import StepTiming
from infra.azure.blob_storage import BUILDS_CONTAINER
from infra.azure.refusals import refusals
from infra.azure.session import Cloud

_TIMINGS = TypeAdapter(tuple[StepTiming, ...])


class BuildHistory:
    """Timings of builds under history/<image>/<UTC time>-<build id>.json."""

    def __init__(self, cloud: Cloud, *, container: str = BUILDS_CONTAINER) -> None:
        self._cloud = cloud
        self._container = container

    def record(self, build_id: str, image: str, timings: Sequence[StepTiming], *, now: datetime | None = None) -> None:
        """Keep the timings of a build that ended, well or not. Raises CloudError."""
        from azure.storage.blob import ContentSettings

        ended = (now or datetime.now(UTC)).astimezone(UTC)
        name = f"{_folder(image)}{ended:%Y%m%dT%H%M%SZ}-{build_id}.json"
        settings = ContentSettings(content_type="application/json")
        with refusals("record the build's timings"), self._cloud.blobs().get_blob_client(self._container, name) as blob:
            blob.upload_blob(_TIMINGS.dump_json(tuple(timings)), overwrite=True, content_settings=settings)

    def recent(self, image: str, count: int = 5) -> list[tuple[StepTiming, ...]]:
        """The timings of the image's latest builds, newest first; unreadable ones are left out. Raises CloudError."""
        with refusals(f"read the history of {image}"), self._cloud.blobs().get_container_client(self._container) as container:
            # Names begin with the time, so their order is that of the builds.
            names = sorted((blob.name for blob in container.list_blobs(name_starts_with=_folder(image))), reverse=True)
            contents = [container.download_blob(name).readall() for name in names[:count]]
        return [timings for timings in map(_parse, contents) if timings is not None]


def _folder(image: str) -> str:
    return f"history/{image}/"


def _parse(content: bytes) -> tuple[StepTiming, ...] | None:
    try:
        return _TIMINGS.validate_json(content)
    except ValidationError:
        # Of another version of this program: only an estimate depends on it.
        return None
