"""What must hold between an image's promises, its live inventory and the inventory read from its captured disk.

Each function returns one line for each difference, in a stable order; an empty tuple means agreement.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from images.definition import ImageDefinition, RegistryOperation, RegistrySetting
from images.frozen import Frozen
from images.inventory import Inventory
from images.lock import ImageLock, LockedUpdate
from images.plan import BuildPlan
from images.privacy import is_private_scope, mark_of
from images.private_fix import FixKind, settings_with_fix
from images.updates.feed import build_numbers

GENERALIZE_CHANGES: Mapping[str, str] = {
    "updates": "the history is the update agent's database; the log that a disk is read for names the same titles until Windows cuts it",
    "security_protocols": "a setting of a running .NET process, which follows from several keys and the build",
    "free_bytes": "clean-up and generalize free space after the live inventory, and the stand-in's volumes are scaled down",
    "total_bytes": "the stand-in's volumes are scaled down; on Azure both sides give the size of C:",
    "services.state": "a stopped machine has no running services; generalize disables none",
    "services[RdAgent]": "generalize deletes the guest agent; a new VM installs its own",
    "services[WindowsAzureGuestAgent]": "generalize deletes the guest agent; a new VM installs its own",
    "scheduled_tasks[\\winvhd-*]": "the build's own tasks are removed with its last contact",
}
"""All that a live and an offline inventory may differ in, each with the reason.

`field`: not compared. `list.field`: not compared in the list's items. `list[name]` (a pattern): deleted by generalize, so that the live
inventory may have it and the captured disk must not.
"""

_LISTS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("feature", "features", ("name",)),
    ("QFE", "qfes", ("kb",)),
    ("registry value", "registry", ("path", "name")),
    ("container image", "container_images", ("name",)),
    ("cached file", "cached_files", ("path",)),
    ("tool", "tools", ("path",)),
    ("scheduled task", "scheduled_tasks", ("path",)),
    ("service", "services", ("name",)),
)
_LIST_FIELDS = frozenset({field for _what, field, _key in _LISTS} | {"capabilities"})


def _changed_parts(field: str) -> frozenset[str]:
    return frozenset(name.partition(".")[2] for name in GENERALIZE_CHANGES if name.startswith(f"{field}."))


def _deleted(field: str) -> tuple[str, ...]:
    return tuple(name[len(field) + 1 : -1].lower() for name in GENERALIZE_CHANGES if name.startswith(f"{field}["))


def _keyed(items: Iterable[Any], *key: str, skip: frozenset[str] = frozenset(), exact: bool = False) -> dict[str, dict[str, Any]]:
    # Windows' names are the same in any case, those of container images are not (`exact`).
    table: dict[str, dict[str, Any]] = {}
    for item in items:
        content = item.model_dump()
        name = "\\".join(str(content[part]) for part in key)
        fields = {field: value for field, value in content.items() if field not in skip and field not in key}
        table[name if exact else name.lower()] = fields | {"_name": name}
    return table


def _compare_tables(
    what: str, left: Mapping[str, dict[str, Any]], right: Mapping[str, dict[str, Any]], sides: tuple[str, str]
) -> list[str]:
    differences = []
    for key in sorted(left.keys() | right.keys()):
        here, there = left.get(key), right.get(key)
        if here is None or there is None:
            present, name = (sides[1], there) if here is None else (sides[0], here)
            absent = sides[0] if here is None else sides[1]
            differences.append(f"{what} {(name or {})['_name']}: in the {present}, not in the {absent}")
            continue
        for field in here:
            if field != "_name" and here[field] != there[field]:
                differences.append(
                    f"{what} {here['_name']}: {field} is {here[field]!r} in the {sides[0]}, {there[field]!r} in the {sides[1]}"
                )
    return differences


def _what_differs(here: object, there: object, sides: tuple[str, str]) -> str:
    if isinstance(here, Frozen) and isinstance(there, Frozen):
        parts = [(f"{name} is ", getattr(here, name), getattr(there, name)) for name in type(here).model_fields]
        return "; ".join(f"{name}{left!r} in the {sides[0]}, {right!r} in the {sides[1]}" for name, left, right in parts if left != right)
    return f"{here!r} in the {sides[0]}, {there!r} in the {sides[1]}"


def compare_live_and_offline(live: Inventory, offline: Inventory) -> tuple[str, ...]:
    """Differences between the running guest's inventory and the captured disk's, outside GENERALIZE_CHANGES."""
    sides = ("live inventory", "captured disk")
    differences = [
        f"{field}: {_what_differs(getattr(live, field), getattr(offline, field), sides)}"
        for field in Inventory.model_fields
        if field not in GENERALIZE_CHANGES and field not in _LIST_FIELDS and getattr(live, field) != getattr(offline, field)
    ]
    for name in sorted(set(live.capabilities) ^ set(offline.capabilities)):
        present, absent = sides if name in live.capabilities else sides[::-1]
        differences.append(f"capability {name}: in the {present}, not in the {absent}")
    for what, field, key in _LISTS:
        exact, skip = field == "container_images", _changed_parts(field)
        running, captured = (_keyed(getattr(side, field), *key, skip=skip, exact=exact) for side in (live, offline))
        for pattern in _deleted(field):
            for name in [name for name in running if fnmatchcase(name, pattern)]:
                del running[name]
            for name in sorted(name for name in captured if fnmatchcase(name, pattern)):
                differences.append(f"{what} {captured.pop(name)['_name']}: still on the captured disk, though generalize deletes it")
        differences += _compare_tables(what, running, captured, sides)
    return tuple(differences)


def compare_with_promise(definition: ImageDefinition, lock: ImageLock, plan: BuildPlan, inventory: Inventory) -> tuple[str, ...]:
    """What definition, lock and plan promise and the image lacks, and what nobody asked for among its cached files and images."""
    differences: list[str] = []
    promised = {file.path.lower(): file for file in plan.files}
    found = {file.path.lower(): file for file in (*inventory.cached_files, *inventory.tools)}
    uploaded = {file.destination.lower() for file in definition.files}
    for key, file in sorted(promised.items()):
        if key not in found:
            differences.append(f"cached file {file.path}: promised by the lock, not on the image")
        elif found[key].sha256 != file.sha256:
            differences.append(f"cached file {file.path}: sha256 is {found[key].sha256}, the lock promises {file.sha256}")
    differences += [
        f"cached file {extra.path}: on the image, but nobody asked for it"
        for extra in inventory.cached_files
        if extra.path.lower() not in promised and extra.path.lower() not in uploaded
    ]
    differences += _compare_images(lock, inventory)
    differences += [
        f"capability {name}: promised, not on the image" for name in definition.capabilities if name not in inventory.capabilities
    ]
    features = {feature.name.lower() for feature in inventory.features}
    differences += [f"feature {name}: promised, not on the image" for name in definition.features if name.lower() not in features]
    if definition.container_runtime is not None and inventory.runtime is None:
        differences.append(f"container runtime {definition.container_runtime.name}: promised, not on the image")
    differences += [
        f"excluded UDP port {port}: promised, not on the image"
        for port in definition.system.excluded_udp_ports
        if port not in inventory.excluded_udp_ports
    ]
    installed = {qfe.kb for qfe in inventory.qfes}
    # A private fix may be a whole cumulative update, which supersedes those of the lock.
    lasting = lock.updates if plan.fix is None or plan.fix.kind is FixKind.ZIP else ()
    differences += [
        f"QFE {update.kb}: promised, not on the image"
        for update in lasting
        if update.kb not in installed and not update.checkpoint and not _is_replaced(update, inventory)
    ]
    if is_private_scope(plan.scope) and mark_of(inventory) != plan.scope:
        differences.append("the mark of private work: promised, not on the image")
    differences += compare_registry(settings_with_fix(definition.registry, plan.fix), inventory)
    return tuple(differences)


def compare_registry(settings: Iterable[RegistrySetting], inventory: Inventory) -> list[str]:
    """Settings that the image's registry does not have."""
    differences = []
    values = {(value.path.lower(), value.name.lower()): value.value for value in inventory.registry}
    for setting in settings:
        there = values.get((setting.path.rstrip("\\").lower(), setting.name.lower()))
        if setting.operation is RegistryOperation.OR and isinstance(there, int) and isinstance(setting.value, int):
            there = there & setting.value
        if there != setting.value:
            differences.append(
                f"registry value {setting.path}\\{setting.name}: {there!r} on the image, the definition promises {setting.value!r}"
            )
    return differences


def _is_replaced(update: LockedUpdate, inventory: Inventory) -> bool:
    """True when Windows is beyond the build that the update brings: it lists only the newest cumulative update, which holds the others."""
    return update.build is not None and build_numbers(update.build) < build_numbers(inventory.os.version)


def _compare_images(lock: ImageLock, inventory: Inventory) -> list[str]:
    differences = []
    tags = {
        image.name: image.digest for image in inventory.container_images if "@" not in image.name and not image.name.startswith("sha256:")
    }
    promised = {image.reference: image.digest for image in lock.container_images}
    for reference, digest in sorted(promised.items()):
        if reference not in tags:
            differences.append(f"container image {reference}: promised by the lock, not on the image")
        elif tags[reference] != digest:
            differences.append(f"container image {reference}: digest is {tags[reference]}, the lock promises {digest}")
    differences += [f"container image {name}: on the image, but nobody asked for it" for name in sorted(tags) if name not in promised]
    digests = set(promised.values())
    differences += [
        f"container image {image.name}: on the image, but nobody asked for it"
        for image in inventory.container_images
        if (image.name.startswith("sha256:") or "@" in image.name) and image.digest not in digests
    ]
    return differences
