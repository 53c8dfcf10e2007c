"""What changed on an image since its previous release, for the notes that people read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from images.diff.difference import Changed, SectionDifference, compare_listings
from images.diff.listing import listing_of_inventory
from images.frozen import Frozen
from images.inventory import Inventory

_PARTS: Final[tuple[tuple[str, str, frozenset[str]], ...]] = (
    ("Windows", "system", frozenset({"Product", "Version", "Excluded UDP ports"})),
    ("Updates", "qfes", frozenset()),
    ("Features", "features", frozenset()),
    ("Capabilities", "capabilities", frozenset()),
    ("Container runtime", "system", frozenset({"Container runtime", "Runtime configuration"})),
    ("Container images", "container_images", frozenset()),
    ("Cached files", "cached_files", frozenset()),
    ("Tools", "tools", frozenset()),
    ("Registry settings", "registry", frozenset()),
    ("Services", "services", frozenset()),
)
"""Title, section of the difference, and the names that count there; all of them where none is given."""

_TELLING: Final = ("tag", "digest", "sha256", "size in bytes", "description", "start mode", "data", "value")
"""The fields that a line shows: the first of them that a thing has, and the first that changed."""


class Change(Frozen):
    """One thing that is new (no `before`), gone (no `after`), or another one; both are what a reader is shown of it."""

    name: str
    before: str | None
    after: str | None


class ChangedPart(Frozen):
    """The changes in one part of the image, sorted by name."""

    title: str
    changes: tuple[Change, ...]


def changes_since(old: Inventory, new: Inventory) -> tuple[ChangedPart, ...]:
    """The parts in which two images of the same name differ; Defender, which is another one in every build, does not count."""
    difference = compare_listings(listing_of_inventory(old, "before"), listing_of_inventory(new, "after"))
    found = {section.section: section for section in difference.sections}
    parts = [ChangedPart(title=title, changes=_changes(found[section], names)) for title, section, names in _PARTS if section in found]
    return tuple(part for part in parts if part.changes)


def _changes(section: SectionDifference, names: frozenset[str]) -> tuple[Change, ...]:
    changes = [
        *(Change(name=item.name, before=None, after=item.fields.get(_telling(item.fields), "installed")) for item in section.added),
        *(Change(name=item.name, before=item.fields.get(_telling(item.fields), "installed"), after=None) for item in section.removed),
        *(_changed(item) for item in section.changed),
    ]
    return tuple(sorted((change for change in changes if not names or change.name in names), key=lambda change: change.name.casefold()))


def _changed(item: Changed) -> Change:
    before, after = item.fields[_telling(item.fields)]
    # An image without a runtime has an empty version.
    return Change(name=item.name, before=before or None, after=after or None)


def _telling(fields: Iterable[str]) -> str:
    names = list(fields)
    return next((name for name in _TELLING if name in names), next(iter(names), ""))
