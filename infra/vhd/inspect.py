"""Inspection of a disk image file."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from images.inventory import Inventory
from infra.vhd.errors import VhdNotFoundError
from infra.vhd.offline_inventory import CACHE_ROOTS, REGISTRY_PATHS, TOOL_ROOTS, inspect_disk


@dataclass(frozen=True)
class Inspection:
    """An inventory and what it took to read it."""

    inventory: Inventory
    disk_bytes: int
    seconds: float


def inspect_path(
    path: Path,
    *,
    hash_files: bool = False,
    cache_roots: Sequence[str] = CACHE_ROOTS,
    tool_roots: Sequence[str] = TOOL_ROOTS,
    registry_paths: Sequence[str] = REGISTRY_PATHS,
) -> Inspection:
    """The inventory of an image file; VhdNotFoundError without a file, VhdError when a .vhd has no sound footer or is damaged elsewhere."""
    if not path.is_file():
        raise VhdNotFoundError(f"there is no file {path}")
    started = time.monotonic()
    with path.open("rb") as source:
        inventory = inspect_disk(
            source,
            hash_files=hash_files,
            cache_roots=cache_roots,
            tool_roots=tool_roots,
            registry_paths=registry_paths,
            require_footer=path.suffix.lower() == ".vhd",
        )
    return Inspection(inventory, path.stat().st_size, time.monotonic() - started)
