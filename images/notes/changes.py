"""What changed on an image since its previous release, for the notes that people read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from images.frozen import Frozen
from images.inventory import CachedFile, Inventory, RegistryValue
from images.notes.facts import tagged

Item = TypeVar("Item")


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
    """The parts in which two images of the same name differ; Defender's signatures, sizes and states of services do not count."""
    parts = (
        ("Windows", _compare({"build": old.os.version}, {"build": new.os.version})),
        ("Updates", _listed(old.qfes, new.qfes, lambda qfe: qfe.kb, lambda qfe: qfe.description)),
        ("Features", _listed(old.features, new.features, lambda feature: feature.name, lambda feature: feature.display_name)),
        ("Capabilities", _listed(old.capabilities, new.capabilities, str, lambda _: "installed")),
        ("Container runtime", _compare(_runtime(old), _runtime(new))),
        (
            "Container images",
            _listed(tagged(old.container_images), tagged(new.container_images), lambda image: image.name, lambda image: image.digest),
        ),
        ("Cached files", _listed(old.cached_files, new.cached_files, _path, lambda file: file.sha256)),
        ("Tools", _listed(old.tools, new.tools, _path, lambda file: file.sha256)),
        ("Registry settings", _listed(old.registry, new.registry, _value_name, lambda value: _shown(value.value))),
        ("Services", _listed(old.services, new.services, lambda service: service.name, lambda service: service.start_mode)),
    )
    return tuple(ChangedPart(title=title, changes=changes) for title, changes in parts if changes)


def _runtime(inventory: Inventory) -> dict[str, str]:
    return {inventory.runtime.name: inventory.runtime.version} if inventory.runtime else {}


def _path(file: CachedFile) -> str:
    return file.path


def _value_name(value: RegistryValue) -> str:
    return f"{value.path}\\{value.name}"


def _shown(value: int | str | list[str]) -> str:
    return " ".join(value) if isinstance(value, list) else str(value)


def _listed(old: Iterable[Item], new: Iterable[Item], name: Callable[[Item], str], shown: Callable[[Item], str]) -> tuple[Change, ...]:
    return _compare({name(item): shown(item) for item in old}, {name(item): shown(item) for item in new})


def _compare(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[Change, ...]:
    # Windows' names are the same in any case: a path that is spelled otherwise now is no change.
    before = {name.casefold(): (name, text) for name, text in old.items()}
    after = {name.casefold(): (name, text) for name, text in new.items()}
    changes = []
    for key in sorted(before.keys() | after.keys()):
        was, now = before.get(key), after.get(key)
        if was is None or now is None or was[1] != now[1]:
            name = (now or was or ("", ""))[0]
            changes.append(Change(name=name, before=was[1] if was else None, after=now[1] if now else None))
    return tuple(changes)
