"""What published release notes say of an image, in the nouns of an inventory; None for what they do not tell."""

from __future__ import annotations

from typing import ClassVar

from images.errors import BuildError
from images.frozen import Frozen
from images.inventory import CachedFile, Feature, Qfe


class PublishedNotesError(BuildError):
    """A text is not release notes, or a line of it can not be understood; `where` is its line."""

    exit_code: ClassVar[int] = 6
    title: ClassVar[str] = "the release notes can not be read"
    default_hint: ClassVar[str] = "give the release notes as they were published, whole and unchanged"


class NotedImage(Frozen):
    """A container image by its tag; notes round sizes, as in `108.1 MiB`."""

    name: str
    digest: str
    size: str
    platforms: tuple[str, ...]


class NotedValue(Frozen):
    """A registry value with its data as text."""

    path: str
    name: str
    value: str


class NotedService(Frozen):
    """A service; the state is empty where the notes came from a disk."""

    name: str
    start_mode: str
    state: str


class PublishedNotes(Frozen):
    """One published text. Names of features may end in `...`, where a column was too narrow for them."""

    build_number: str
    build_id: str
    repository: str
    branch: str
    commit: str
    vhd_id: str
    product_name: str
    os_version: str
    installation_type: str
    security_protocols: str | None = None
    features: tuple[Feature, ...] | None = None
    capabilities: tuple[str, ...] | None = None
    qfes: tuple[Qfe, ...] | None = None
    updates: tuple[str, ...] | None = None
    registry: tuple[NotedValue, ...] | None = None
    services: tuple[NotedService, ...] | None = None
    runtime_version: str | None = None
    container_images: tuple[NotedImage, ...] | None = None
    cached_files: tuple[CachedFile, ...] | None = None
    tools: tuple[CachedFile, ...] | None = None
