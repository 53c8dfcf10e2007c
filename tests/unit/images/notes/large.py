"""Facts of an image far larger than any that exists."""

from __future__ import annotations

import hashlib

from images.inventory import CachedFile
from images.notes.facts import ReleaseFacts
from tests.unit.images.notes.parts import facts_of, images_of, small_inventory


def large_facts(files: int, images: int = 200) -> ReleaseFacts:
    """So many cached files and container images, the same in every process."""
    cached = (
        CachedFile(
            path=rf"c:\akse-cache\folder-{number % 97}\file-{number:06d}.zip",
            sha256=hashlib.sha256(str(number).encode()).hexdigest(),
            size_bytes=number * 7919,
        )
        for number in range(files)
    )
    pulled = [
        image
        for number in range(images)
        for image in images_of(f"mcr.example/oss/image-{number:03d}:v1", digest=f"{number:064x}", config=f"{number + images:064x}")
    ]
    return facts_of(small_inventory(cached_files=tuple(cached), container_images=tuple(pulled)))
