"""The difference between two listings, in a stable order."""

from __future__ import annotations

from collections import defaultdict

from images.diff.listing import CASE_MATTERS, SECTIONS, Fields, ImageListing, Items
from images.frozen import Frozen

_CUT = "..."


class Named(Frozen):
    """Something that only one of the images has."""

    name: str
    fields: Fields


class Changed(Frozen):
    """Something that both have, with the fields that differ: before and after."""

    name: str
    fields: dict[str, tuple[str, str]]


class SectionDifference(Frozen):
    """The differences of one section; its name is a key of SECTIONS."""

    section: str
    added: tuple[Named, ...]
    removed: tuple[Named, ...]
    changed: tuple[Changed, ...]

    @property
    def count(self) -> int:
        """How many things differ."""
        return len(self.added) + len(self.removed) + len(self.changed)


class ImageDifference(Frozen):
    """All differences from `before` to `after`; sections that one side does not tell about are named apart."""

    before: str
    after: str
    sections: tuple[SectionDifference, ...]
    not_compared: tuple[str, ...]

    @property
    def count(self) -> int:
        """How many things differ."""
        return sum(section.count for section in self.sections)


def compare_listings(before: ImageListing, after: ImageListing) -> ImageDifference:
    """What was added, removed and changed; only sections with a difference are in it."""
    sections, not_compared = [], []
    for section in SECTIONS:
        left, right = before.sections.get(section), after.sections.get(section)
        if left is None or right is None:
            if left is not None or right is not None:
                not_compared.append(section)
            continue
        found = _compare_section(section, left, right)
        if found.count:
            sections.append(found)
    return ImageDifference(before=before.title, after=after.title, sections=tuple(sections), not_compared=tuple(not_compared))


def _compare_section(section: str, before: Items, after: Items) -> SectionDifference:
    left, right = _keyed(section, before), _keyed(section, after)
    if section == "features":
        left, right = _whole_names(left, right), _whole_names(right, left)
    changed: list[Changed] = []
    for key in sorted(left.keys() & right.keys()):
        (_old_name, old), (name, new) = left[key], right[key]
        fields = _changed_fields(old, new)
        if fields:
            changed.append(Changed(name=name, fields=fields))
    removed = [Named(name=left[key][0], fields=left[key][1]) for key in sorted(left.keys() - right.keys())]
    added = [Named(name=right[key][0], fields=right[key][1]) for key in sorted(right.keys() - left.keys())]
    if section == "system":
        # What notes do not tell of Windows is not gone.
        added, removed = [], []
    if section == "container_images":
        added, removed, moved = _moved_tags(added, removed)
        changed = sorted([*changed, *moved], key=lambda item: item.name)
    return SectionDifference(section=section, added=tuple(added), removed=tuple(removed), changed=tuple(changed))


def _keyed(section: str, items: Items) -> dict[str, tuple[str, Fields]]:
    exact = section in CASE_MATTERS
    return {(name if exact else name.casefold()): (name, fields) for name, fields in items.items()}


def _changed_fields(old: Fields, new: Fields) -> dict[str, tuple[str, str]]:
    """Fields that both sides tell and that differ; the rounded size only where nobody knows the exact one."""
    fields = [name for name in old if name in new]
    if "size in bytes" in fields and "size" in fields:
        fields.remove("size")
    return {name: (old[name], new[name]) for name in fields if old[name] != new[name]}


def _whole_names(items: dict[str, tuple[str, Fields]], others: dict[str, tuple[str, Fields]]) -> dict[str, tuple[str, Fields]]:
    """Names that a narrow column cut become the one name of the other side that begins so."""
    whole: dict[str, tuple[str, Fields]] = {}
    for key, entry in items.items():
        longer = [other for other in others if key.endswith(_CUT) and other not in items and other.startswith(key.removesuffix(_CUT))]
        if len(longer) == 1:
            whole[longer[0]] = (others[longer[0]][0], entry[1])
        else:
            whole[key] = entry
    return whole


def _moved_tags(added: list[Named], removed: list[Named]) -> tuple[list[Named], list[Named], list[Changed]]:
    """A repository that lost one tag and got one moved from the one to the other."""
    by_repository: dict[str, tuple[list[Named], list[Named]]] = defaultdict(lambda: ([], []))
    for side, images in enumerate((removed, added)):
        for image in images:
            by_repository[_repository(image.name)][side].append(image)
    moved = []
    for repository, (lost, got) in by_repository.items():
        if len(lost) == len(got) == 1:
            tags = (lost[0].name.removeprefix(repository).lstrip(":"), got[0].name.removeprefix(repository).lstrip(":"))
            moved.append(Changed(name=repository, fields={"tag": tags, **_changed_fields(lost[0].fields, got[0].fields)}))
    gone = {change.name for change in moved}
    return (
        [image for image in added if _repository(image.name) not in gone],
        [image for image in removed if _repository(image.name) not in gone],
        moved,
    )


def _repository(reference: str) -> str:
    head, colon, tag = reference.rpartition(":")
    # A colon before a slash belongs to the registry's port.
    return head if colon and "/" not in tag else reference
