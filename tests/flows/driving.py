"""Runs parts of a build by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from images.definition import ImageDefinition
from images.loading import read_uploads
from images.lock import ImageLock
from images.plan import BuildPlan, make_plan
from infra.azure.blob_storage import BUILDS_CONTAINER, BuildBlobs, ensure_container
from infra.azure.disk_capture import CapturedVhd
from infra.azure.page_blob import hash_page_blob
from infra.guest.package import guest_scripts
from tasks.build import Build
from tasks.provision_vm import resources_of
from tasks.resolve_lock import resolve_lock


def plan_of(definition: ImageDefinition, file: Path, build: Build) -> tuple[ImageLock, BuildPlan]:
    """Lock and plan as the flow makes them."""
    lock = resolve_lock(definition, file, build.cloud)
    return lock, make_plan(definition, lock, scripts=guest_scripts(), uploads=read_uploads(definition))


@contextmanager
def capture_again(build: Build, plan: BuildPlan, vhd: Path) -> Iterator[CapturedVhd]:
    """A VHD of a test's own making in the place of a captured one, in a build's resources."""
    ensure_container(build.cloud, BUILDS_CONTAINER)
    blobs = BuildBlobs(build.cloud, build.build_id)
    size = vhd.stat().st_size
    with resources_of(build, plan), blobs.client("image.vhd") as blob:
        with vhd.open("rb") as source:
            blob.upload_blob(source, blob_type="PageBlob", length=size)
        content = hash_page_blob(blob)
        yield CapturedVhd(BUILDS_CONTAINER, blobs.blob_name("image.vhd"), blob.url, content.sha256, size, content.data_bytes, "upload")
