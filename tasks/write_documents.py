"""The documents of a build, from its inventory: written to the build's folder, shown in Prefect."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from images.definition import ImageDefinition
from images.errors import BuildError
from images.inventory import Inventory
from images.lock import ImageLock
from images.notes.bom import render_bom
from images.notes.facts import PreviousRelease, ReleaseFacts
from images.notes.markdown import render_markdown
from images.notes.publishing import render_publishing_info
from images.notes.text import render_text
from images.plan import BuildPlan
from images.sbom.document import render_sbom
from images.sbom.validation import sbom_problems
from images.updates.feed import FeedUpdate
from infra.azure.disk_capture import CapturedVhd
from infra.azure.version_register import VersionRegister
from infra.checkout import build_source
from tasks.build import Build
from tasks.progress import run_logger

SBOM_NAME = "sbom.cdx.json"


def previous_release(register: VersionRegister, image: str, version: str) -> PreviousRelease | None:
    """The newest release of an image below a version; None for the first one. Raises CloudError."""
    found = register.previous(image, version)
    if found is None:
        return None
    earlier, content = found
    try:
        return PreviousRelease(version=earlier, inventory=Inventory.model_validate_json(content))
    except ValidationError:
        # An inventory of another version of this program: the notes then do not say what changed.
        run_logger().warning("the inventory of release %s can not be read: the notes leave out what changed since", earlier)
        return None


def release_facts(
    build: Build,
    definition: ImageDefinition,
    plan: BuildPlan,
    inventory: Inventory,
    version: str,
    previous: PreviousRelease | None = None,
    previews: Sequence[str] = (),
    fixes: Sequence[FeedUpdate] = (),
) -> ReleaseFacts:
    """Everything the documents say; `previews` are the KBs that are optional previews, `fixes` what came since the previous release."""
    stamp = version.rpartition(".")[2]
    return ReleaseFacts(
        image=definition.name,
        description=definition.description,
        build_id=build.build_id,
        build_number=f"20{stamp[:6]}.{int(stamp[6:])}",
        image_version=version,
        source=build_source(),
        base_urn=plan.base.urn,
        generation=plan.base.generation.value,
        trusted_launch=plan.base.trusted_launch,
        inventory=inventory,
        previous=previous,
        previews=tuple(previews),
        fixes=tuple(fixes),
    )


def write_documents(folder: Path, facts: ReleaseFacts) -> str:
    """Write inventory.json, release notes and bill of materials; returns the text of the release notes for the image itself."""
    notes = render_text(facts)
    for name, text in (
        ("inventory.json", facts.inventory.model_dump_json(indent=2) + "\n"),
        ("release-notes.txt", notes),
        ("release-notes.md", render_markdown(facts)),
        ("image-bom.json", render_bom(facts)),
    ):
        (folder / name).write_text(text, encoding="utf-8")
    return notes


def write_publishing_info(folder: Path, facts: ReleaseFacts, captured: CapturedVhd) -> None:
    """Write vhd-publishing-info.json."""
    facts = facts.model_copy(update={"vhd_url": captured.url})
    text = render_publishing_info(
        facts, sku=facts.image, offer="windows-node-images", vhd_sha256=captured.sha256, vhd_size_bytes=captured.size_bytes
    )
    (folder / "vhd-publishing-info.json").write_text(text, encoding="utf-8")


def write_sbom(build: Build, facts: ReleaseFacts, definition: ImageDefinition, lock: ImageLock, captured: CapturedVhd) -> None:
    """Write sbom.cdx.json; raises BuildError should it not follow CycloneDX's schema."""
    text = render_sbom(
        facts,
        definition,
        lock,
        vhd_sha256=captured.sha256,
        started=build.started,
        tool_version=importlib.metadata.version("winvhd"),
    )
    problems = sbom_problems(text)
    if problems:
        raise BuildError(f"{SBOM_NAME} does not follow the CycloneDX schema: {'; '.join(problems)}", hint="a name on the image is unusual")
    (build.folder / SBOM_NAME).write_text(text, encoding="utf-8")
