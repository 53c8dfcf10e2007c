"""An image as named things with fields of text: the one shape in which inventories and published notes can be compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from images.frozen import Frozen
from images.inventory import CachedFile, Inventory
from images.notes.facts import human_size, tagged
from images.published.notes import PublishedNotes

SECTIONS: Final[Mapping[str, str]] = {
    "system": "Windows",
    "qfes": "KBs (QFEs)",
    "updates": "Updates",
    "features": "Features",
    "capabilities": "Capabilities",
    "services": "Services",
    "registry": "Registry",
    "container_images": "Container images",
    "cached_files": "Cached files",
    "tools": "Tools",
    "scheduled_tasks": "Scheduled tasks",
}
"""Every section in the order of a report, with its title."""

CASE_MATTERS: Final = frozenset({"container_images", "updates"})
"""Sections whose names are told apart by case; Windows' own are not."""

Fields = dict[str, str]
Items = dict[str, Fields]


class ImageListing(Frozen):
    """Section -> name -> field -> text. A section that is absent is not known, which is not the same as empty."""

    title: str
    sections: dict[str, Items]


def listing_of_inventory(inventory: Inventory, title: str) -> ImageListing:
    """All that an inventory holds, except what is another one in every build (identity, free space) or only in a running machine."""
    runtime, defender = inventory.runtime, inventory.defender
    # A disk alone tells neither, so their absence says nothing.
    protocols = {"Security protocols": {"value": inventory.security_protocols}} if inventory.security_protocols else {}
    return ImageListing(
        title=title,
        sections={
            "system": {
                "Product": {"value": inventory.os.product_name},
                "Version": {"value": inventory.os.version},
                "Installation type": {"value": inventory.os.installation_type},
                "Generation": {"value": inventory.os.generation},
                "Container runtime": {"value": runtime.version if runtime else ""},
                "Runtime configuration": {"sha256": runtime.config_sha256 if runtime else ""},
                "Defender platform": {"value": defender.platform_version if defender else ""},
                "Defender signatures": {"value": defender.signature_version if defender else ""},
                "Excluded UDP ports": {"value": ", ".join(map(str, inventory.excluded_udp_ports))},
                **protocols,
            },
            "qfes": {qfe.kb: {"description": qfe.description} for qfe in inventory.qfes},
            "updates": {title: {} for title in inventory.updates},
            "features": {feature.name: {} for feature in inventory.features},
            "capabilities": {name: {} for name in inventory.capabilities},
            "services": {service.name: {"start mode": service.start_mode} for service in inventory.services},
            "registry": {
                f"{value.path}\\{value.name}": {"data": " ".join(value.value) if isinstance(value.value, list) else str(value.value)}
                for value in inventory.registry
            },
            "container_images": {
                image.name: {
                    "digest": image.digest,
                    "size": human_size(image.size_bytes),
                    "size in bytes": str(image.size_bytes),
                    "config": image.config_digest,
                }
                for image in tagged(inventory.container_images)
            },
            "cached_files": _files(inventory.cached_files),
            "tools": _files(inventory.tools),
            "scheduled_tasks": {task.path: {} for task in inventory.scheduled_tasks},
        },
    )


def listing_of_notes(notes: PublishedNotes, title: str) -> ImageListing:
    """All that the notes tell."""
    system = {"Product": notes.product_name, "Version": notes.os_version, "Installation type": notes.installation_type}
    if notes.runtime_version is not None:
        system["Container runtime"] = notes.runtime_version
    if notes.security_protocols is not None:
        system["Security protocols"] = notes.security_protocols
    known: dict[str, Items | None] = {
        "system": {name: {"value": value} for name, value in system.items()},
        "qfes": None if notes.qfes is None else {qfe.kb: {"description": qfe.description} for qfe in notes.qfes},
        "updates": None if notes.updates is None else {update: {} for update in notes.updates},
        "features": None if notes.features is None else {feature.name: {} for feature in notes.features},
        "capabilities": None if notes.capabilities is None else {name: {} for name in notes.capabilities},
        "services": None if notes.services is None else {service.name: {"start mode": service.start_mode} for service in notes.services},
        "registry": None if notes.registry is None else {f"{value.path}\\{value.name}": {"data": value.value} for value in notes.registry},
        "container_images": None
        if notes.container_images is None
        else {image.name: {"digest": image.digest, "size": image.size} for image in notes.container_images},
        "cached_files": None if notes.cached_files is None else _files(notes.cached_files),
        "tools": None if notes.tools is None else _files(notes.tools),
    }
    return ImageListing(title=title, sections={name: items for name, items in known.items() if items is not None})


def _files(files: tuple[CachedFile, ...]) -> Items:
    # A disk that was read without hashing gives no hash: then sizes alone are compared.
    return {file.path: {"size in bytes": str(file.size_bytes), **({"sha256": file.sha256} if file.sha256 else {})} for file in files}
