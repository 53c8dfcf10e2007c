"""What a build leaves: its folder, the same files in blob storage, artifacts in Prefect, and a summary."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.context import FlowRunContext

from images.definition import ImageDefinition
from images.e2e import E2ECase
from images.errors import BuildError, CloudError
from images.lock import ImageLock
from images.notes.facts import ReleaseFacts, tagged
from images.notes.markdown import render_markdown
from images.plan import BuildPlan
from infra.azure.blob_storage import BuildBlobs
from infra.azure.build_history import BuildHistory
from infra.azure.checkpoint_name import PUBLIC
from infra.azure.disk_capture import CapturedVhd
from infra.azure.version_register import VersionRegister
from infra.signing.keys import SigningKey
from tasks.build import Build
from tasks.capture_vhd import VHD_NAME
from tasks.earlier_image import record_image
from tasks.progress import run_logger
from tasks.show_vhd import show_vhd
from tasks.write_provenance import write_provenance

_CONTENT_TYPES = {
    ".json": "application/json",
    ".md": "text/markdown; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".xml": "application/xml",
}
_UPLOADS = 4
_ARTIFACT_LIMIT_BYTES = 900_000
"""Prefect refuses events above 1.5 MB; artifacts stay well below."""


@dataclass
class BuiltImage:
    """An image that was built and passed its tests."""

    facts: ReleaseFacts
    captured: CapturedVhd
    cases: list[E2ECase] = field(default_factory=list)


@dataclass(frozen=True)
class Recipe:
    """What an image was built from."""

    definition: ImageDefinition
    lock: ImageLock
    plan: BuildPlan


def store_results(
    build: Build, built: BuiltImage, recipe: Recipe, blobs: BuildBlobs, key: SigningKey | None, *, copy_to: str = ""
) -> dict[str, Any]:
    """Write timings and provenance, upload every document, let later builds find the image, and return the summary as plain JSON values.

    The provenance is signed when there is a key. What follows, such as a copy, can be done again without building again. Raises CloudError.
    """
    summary = summarize(build, built)
    write_timings(build)
    write_provenance(build, built.facts, recipe.definition, recipe.lock, recipe.plan, built.captured, copy_to=copy_to, key=key)
    upload_documents(build, blobs)
    if not recipe.plan.private:
        # What is on a private image is not for the notes of a public one.
        inventory = built.facts.inventory.model_dump_json().encode()
        VersionRegister(build.cloud).release(build.image, built.facts.image_version, inventory)
    record_image(build, recipe.plan, built.captured, summary)
    return summary


def record_history(build: Build) -> None:
    """Keep the seconds of this build's steps for the expected minutes of later plans; a refusal is only said."""
    try:
        BuildHistory(build.cloud, container=build.builds_container).record(build.build_id, build.image, build.timings.steps)
    except CloudError as error:
        run_logger().warning("could not keep the timings of this build: %s", error)


def keep_documents(build: Build, blobs: BuildBlobs, error: Exception) -> bool:
    """After a failure: write timings.json, upload what documents there are, and say so in a BuildError; never raises.

    False when they could not be uploaded: what there is of them is in the build's folder alone.
    """
    try:
        write_timings(build)
        upload_documents(build, blobs)
    except (BuildError, OSError) as problem:
        run_logger().warning("could not keep the documents of this attempt: %s", problem)
        return False
    if isinstance(error, BuildError):
        documents = f"what was written so far is in {build.folder} and in the blob folder {blobs.container}/{build.build_id}"
        error.kept = f"{error.kept}; {documents}" if error.kept else documents
    return True


def upload_documents(build: Build, blobs: BuildBlobs) -> None:
    """Every document of the build's folder in its blob folder. Raises CloudError."""
    documents = [path for path in sorted(build.folder.iterdir()) if path.name != VHD_NAME and path.suffix in _CONTENT_TYPES]
    with ThreadPoolExecutor(max_workers=_UPLOADS, thread_name_prefix="document") as pool:
        list(pool.map(lambda path: blobs.put_file(path.name, path, _CONTENT_TYPES[path.suffix]), documents))


def write_timings(build: Build) -> None:
    """Write timings.json: the steps so far, and what crossed WinRM."""
    content = {
        "build_id": build.build_id,
        "steps": [timing.model_dump(mode="json") for timing in build.timings.steps],
        "winrm": build.traffic.model_dump(mode="json"),
    }
    (build.folder / "timings.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def summarize(build: Build, built: BuiltImage) -> dict[str, Any]:
    """The result of a build as plain JSON values."""
    inventory = built.facts.inventory
    return {
        "build_id": build.build_id,
        "image": build.image,
        "image_version": built.facts.image_version,
        "os_version": inventory.os.version,
        "previous_version": built.facts.previous.version if built.facts.previous else None,
        "previous_os_version": built.facts.previous.inventory.os.version if built.facts.previous else None,
        # What a private fix is called stays with its image.
        "new_kbs": list(built.facts.new_kbs) if build.scope == PUBLIC else [],
        "vhd_id": inventory.vhd_id,
        "folder": str(build.folder),
        "vhd_url": built.captured.url,
        "vhd_sha256": built.captured.sha256,
        "vhd_size_bytes": built.captured.size_bytes,
        "copied_to": None,
        "unchanged": False,
        "container_images": len(tagged(inventory.container_images)),
        "cached_files": len(inventory.cached_files),
        "checks_passed": sum(case.outcome == "passed" for case in built.cases),
        "seconds": round((datetime.now(UTC) - build.started).total_seconds(), 1),
        "winrm": build.traffic.model_dump(mode="json"),
    }


def show_in_prefect(build: Build, built: BuiltImage) -> None:
    """Release notes, stages and link as artifacts of the flow run; outside a run nothing."""
    if FlowRunContext.get() is None:
        return
    notes = render_markdown(built.facts)
    if build.private_until is not None:
        # What Prefect keeps does not go with the private work.
        notes = f"The release notes are in the storage container {build.scope}, until {build.private_until:%Y-%m-%d}.\n"
    if len(notes.encode()) > _ARTIFACT_LIMIT_BYTES:
        notes = f"The release notes are too long for an artifact: {built.captured.url.rpartition('/')[0]}/release-notes.md\n"
    create_markdown_artifact(notes, key=f"{build.image}-release-notes", description=f"What is on {built.facts.image_version}")
    rows = [{"step": step.name, "layer": step.layer, "seconds": step.seconds, "outcome": step.outcome} for step in build.timings.steps]
    create_table_artifact(rows, key=f"{build.image}-steps", description=f"Seconds of each of {len(rows)} steps")
    show_vhd(build.image, built.facts.image_version, built.captured)
