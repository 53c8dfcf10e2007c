"""Inspection of a disk image, in a file or behind a URL, with what it cost."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from images.errors import ConfigurationError
from images.inventory import Inventory
from infra.vhd.errors import VhdNotFoundError
from infra.vhd.offline_inventory import CACHE_ROOTS, REGISTRY_PATHS, TOOL_ROOTS, inspect_disk
from infra.vhd.range_reader import RangeReader


@dataclass(frozen=True)
class Inspection:
    """An inventory and what it took to read it: size of the image and bytes read of it, requests for them, seconds."""

    inventory: Inventory
    disk_bytes: int
    seconds: float
    bytes_read: int
    requests: int


@contextmanager
def open_file(path: Path) -> Iterator[RangeReader]:
    """An image file to read; VhdNotFoundError without a file, ConfigurationError when it may not be read."""
    if not path.is_file():
        raise VhdNotFoundError(f"there is no file {path}", hint="check the path; a build puts its results below out/")
    with ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("rb", buffering=0))
        except OSError as error:
            raise ConfigurationError(f"{path} can not be read: {error.strerror}", hint="make the file readable for this user") from error
        descriptor = file.fileno()
        size = os.fstat(descriptor).st_size
        # A disk of this machine answers at once: threads would only cost.
        with RangeReader(lambda offset, length: os.pread(descriptor, length, offset), size, parallel=1) as reader:
            yield reader


def inspect_reader(
    reader: RangeReader,
    *,
    hash_files: bool = False,
    cache_roots: Sequence[str] = CACHE_ROOTS,
    tool_roots: Sequence[str] = TOOL_ROOTS,
    registry_paths: Sequence[str] = REGISTRY_PATHS,
    require_footer: bool = True,
    clock: Callable[[], float] = time.monotonic,
) -> Inspection:
    """The inventory of an image that is open; VhdError when it is damaged, CloudError when its storage refuses."""
    started, before = clock(), reader.traffic
    inventory = inspect_disk(
        reader,
        hash_files=hash_files,
        cache_roots=cache_roots,
        tool_roots=tool_roots,
        registry_paths=registry_paths,
        require_footer=require_footer,
    )
    after = reader.traffic
    return Inspection(inventory, reader.size, clock() - started, after.bytes_read - before.bytes_read, after.requests - before.requests)


def inspect_path(
    path: Path,
    *,
    hash_files: bool = False,
    cache_roots: Sequence[str] = CACHE_ROOTS,
    tool_roots: Sequence[str] = TOOL_ROOTS,
    registry_paths: Sequence[str] = REGISTRY_PATHS,
) -> Inspection:
    """The inventory of an image file; VhdNotFoundError without a file, VhdError when a .vhd has no sound footer or is damaged elsewhere."""
    with open_file(path) as reader:
        return inspect_reader(
            reader,
            hash_files=hash_files,
            cache_roots=cache_roots,
            tool_roots=tool_roots,
            registry_paths=registry_paths,
            require_footer=path.suffix.lower() == ".vhd",
        )
