"""release-notes.md: the notes for people, with tables and links to the KB articles."""

from __future__ import annotations

from collections.abc import Iterable

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from images.inventory import ContainerImage
from images.notes.facts import ReleaseFacts, human_size

_ENVIRONMENT = Environment(
    loader=PackageLoader("images.notes"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    autoescape=select_autoescape(),
    keep_trailing_newline=True,
)
_ENVIRONMENT.filters["size"] = human_size


def _cell(value: int | str | list[str]) -> str:
    """A value in a cell of a table, which a bar or a line break would end."""
    text = " ".join(value) if isinstance(value, list) else str(value)
    return " ".join(text.replace("|", "\\|").splitlines())


_ENVIRONMENT.filters["cell"] = _cell


def tagged(images: Iterable[ContainerImage]) -> list[ContainerImage]:
    """The images by tag: containerd also knows each of them by two digests."""
    return [image for image in images if "@" not in image.name and not image.name.startswith("sha256:")]


def render_markdown(facts: ReleaseFacts) -> str:
    """The notes as Markdown; the same facts give the same bytes."""
    inventory = facts.inventory
    return _ENVIRONMENT.get_template("release-notes.md.j2").render(
        facts=facts,
        inventory=inventory,
        images=tagged(inventory.container_images),
        cached_bytes=sum(file.size_bytes for file in inventory.cached_files),
    )
