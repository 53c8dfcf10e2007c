"""The whole bill: what is on the image, and what each part came from."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from images.definition import ImageDefinition
from images.lock import ImageLock
from images.notes.facts import ReleaseFacts, tagged
from images.sbom import components
from images.sbom.components import Component

ROOT = "image"
"""bom-ref of the image itself."""


def render_sbom(
    facts: ReleaseFacts, definition: ImageDefinition, lock: ImageLock, *, vhd_sha256: str, started: datetime, tool_version: str
) -> str:
    """CycloneDX 1.6 as JSON; the same build gives the same bytes.

    The time in it is that of the build's start, and the serial number follows from the build's id.
    """
    parts = _Parts(facts, definition, lock)
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": uuid5(NAMESPACE_URL, f"winvhd:sbom:{facts.build_id}").urn,
        "version": 1,
        "metadata": {
            "timestamp": started.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "lifecycles": [{"phase": "post-build"}],
            "tools": {"components": [{"type": "application", "name": "winvhd", "version": tool_version}]},
            "component": _image(facts, vhd_sha256),
        },
        "components": parts.components,
        "dependencies": [_dependency(ref, wanted) for ref, wanted in parts.dependencies()],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _image(facts: ReleaseFacts, vhd_sha256: str) -> Component:
    component: Component = {"type": "file", "bom-ref": ROOT, "name": facts.image, "version": facts.image_version}
    if facts.description:
        component["description"] = facts.description
    component["hashes"] = [{"alg": "SHA-256", "content": vhd_sha256}]
    component["properties"] = [
        {"name": f"winvhd:{name}", "value": value}
        for name, value in (
            ("build-id", facts.build_id),
            ("vhd-id", facts.inventory.vhd_id),
            ("base-image", facts.base_urn),
            ("generation", facts.generation),
        )
    ]
    return component


def _dependency(ref: str, wanted: list[str]) -> dict[str, Any]:
    return {"ref": ref, "dependsOn": wanted} if wanted else {"ref": ref}


class _Parts:
    """The components of one image, sorted by bom-ref, and who depends on whom."""

    def __init__(self, facts: ReleaseFacts, definition: ImageDefinition, lock: ImageLock) -> None:
        inventory = facts.inventory
        urls = components.file_urls(definition)
        self._updates = components.updates(inventory.qfes, lock)
        files = {components.file_ref(found.path): components.file(found, urls) for found in (*inventory.cached_files, *inventory.tools)}
        self._artifact_files = _artifact_files(definition, lock, files.keys())
        parts = [components.operating_system(inventory)]
        if inventory.defender is not None:
            parts.append(components.defender(inventory.defender))
        if inventory.runtime is not None:
            parts.append(components.runtime(inventory.runtime, definition.container_runtime, lock))
        parts += [components.container_image(image) for image in tagged(inventory.container_images)]
        parts += [*(components.oci_artifact(artifact) for artifact in lock.oci_artifacts), *files.values()]
        within = {str(part["bom-ref"]) for part in self._updates} | {ref for refs in self._artifact_files.values() for ref in refs}
        self._direct = sorted(ref for part in parts if (ref := str(part["bom-ref"])) not in within)
        self.components = sorted([*parts, *self._updates], key=lambda part: str(part["bom-ref"]))

    def dependencies(self) -> Iterator[tuple[str, list[str]]]:
        """The image first, then every component: those without dependencies are named, too, as CycloneDX wants it."""
        yield ROOT, self._direct
        inner = {"os": sorted(str(part["bom-ref"]) for part in self._updates), **self._artifact_files}
        for part in self.components:
            ref = str(part["bom-ref"])
            yield ref, inner.get(ref, [])


def _artifact_files(definition: ImageDefinition, lock: ImageLock, present: Collection[str]) -> dict[str, list[str]]:
    """The bom-refs of an OCI artifact's files that are on the image, by the artifact's own."""
    folders = {artifact.reference: artifact.destination.rstrip("\\") for artifact in definition.oci_artifacts}
    found: dict[str, list[str]] = {}
    for artifact in lock.oci_artifacts:
        paths = (f"{folders[artifact.reference]}\\{file.title}" for file in artifact.files)
        refs = sorted(ref for path in paths if (ref := components.file_ref(path)) in present)
        found[f"oci-artifact:{artifact.reference}"] = refs
    return found
