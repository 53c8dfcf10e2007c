"""image-bom.json: the container images on an image, in the shape that AKS tools read."""

from __future__ import annotations

import json
from collections import defaultdict

from images.notes.facts import ReleaseFacts


def render_bom(facts: ReleaseFacts) -> str:
    """JSON with one entry per manifest digest: its tags, and the digests that the runtime knows it by.

    The shape is that of the published bills of Azure/AgentBaker (image-bom.json): id, repoTags, repoDigests.
    """
    tags: dict[str, list[str]] = defaultdict(list)
    digests: dict[str, set[str]] = defaultdict(set)
    for image in facts.inventory.container_images:
        if image.name.startswith("sha256:"):
            digests[image.digest].add(image.name)
        elif "@" not in image.name:
            tags[image.digest].append(image.name)
        if image.config_digest:
            digests[image.digest].add(image.config_digest)
    entries = [
        {"id": digest, "repoTags": sorted(names), "repoDigests": sorted(digests[digest])}
        for digest, names in sorted(tags.items(), key=lambda entry: min(entry[1]))
    ]
    return json.dumps({"sku": facts.image, "imageVersion": facts.image_version, "imageBom": entries}, indent=2) + "\n"
