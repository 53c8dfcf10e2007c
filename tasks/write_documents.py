"""The documents of a build, from its inventory: written to the build's folder, shown in Prefect."""

from __future__ import annotations

from pathlib import Path

from images.definition import ImageDefinition
from images.inventory import Inventory
from images.notes.bom import render_bom
from images.notes.facts import ReleaseFacts
from images.notes.markdown import render_markdown
from images.notes.publishing import render_publishing_info
from images.notes.text import render_text
from images.plan import BuildPlan
from infra.azure.disk_capture import CapturedVhd
from infra.checkout import build_source
from tasks.build import Build


def release_facts(build: Build, definition: ImageDefinition, plan: BuildPlan, inventory: Inventory, version: str) -> ReleaseFacts:
    """Everything the documents say."""
    day, _, count = version.rpartition(".")[2][:6], "", version[-2:]
    return ReleaseFacts(
        image=definition.name,
        description=definition.description,
        build_id=build.build_id,
        build_number=f"20{day}.{int(count)}",
        image_version=version,
        source=build_source(),
        base_urn=plan.base.urn,
        generation=plan.base.generation.value,
        trusted_launch=plan.base.trusted_launch,
        inventory=inventory,
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
