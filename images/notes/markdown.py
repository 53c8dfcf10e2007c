"""release-notes.md: the notes for people, with tables and links to the KB articles."""

from __future__ import annotations

import re

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from images.notes.changes import changes_since
from images.notes.facts import ReleaseFacts, human_size, tagged

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


def _brief(text: str) -> str:
    """A text with its SHA-256 digests cut short: whole ones are in inventory.json."""
    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]{52}\b", r"\1…", text)


_ENVIRONMENT.filters["cell"] = _cell
_ENVIRONMENT.filters["brief"] = _brief


def render_markdown(facts: ReleaseFacts) -> str:
    """The notes as Markdown; the same facts give the same bytes."""
    inventory = facts.inventory
    return _ENVIRONMENT.get_template("release-notes.md.j2").render(
        facts=facts,
        inventory=inventory,
        images=tagged(inventory.container_images),
        changed=changes_since(facts.previous.inventory, inventory) if facts.previous else (),
        cached_bytes=sum(file.size_bytes for file in inventory.cached_files),
    )
