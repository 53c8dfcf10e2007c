"""What is private, how that can be seen, and the one refusal that every way of publishing or copying an image goes through.

A private build can be told by what its plan says, by the scope of its tags, by its names, by its blobs' metadata, by the mark in its
inventory and by the same mark on its disk: each alone is enough, so that work stays private also when the other signs were lost.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from pydantic import Field

from images.definition import ImageDefinition, RegistrySetting, RegistryType
from images.errors import PrivateImageError
from images.frozen import Frozen
from images.inventory import Inventory

PUBLIC_SCOPE: Final = "public"
PRIVATE: Final = "private"
"""Scopes, containers, resource groups and builds of private work are called private-<id>; no definition's name may begin so."""

SCOPE_FIELD: Final = "winvhd_scope"
"""Name of the metadata field of a blob or a container that holds the scope; a metadata name must be a C# identifier
(https://learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata)."""

MARK_KEY: Final = r"HKLM:\SOFTWARE\winvhd"
MARK_VALUE: Final = "Scope"
PRESENT_VALUE: Final = "FixPresentBefore"
"""Beside the mark, of a patched image only: 1 when Windows held the fix before it was installed."""


def private_scope(identity: str) -> str:
    """The scope of a private build or validation, private-<identity>.

    >>> private_scope("3f0c9a1b22d4")
    'private-3f0c9a1b22d4'
    """
    return f"{PRIVATE}-{identity}"


def scope_of(definition: ImageDefinition) -> str:
    """Public, or a scope of the image's own when private packages are part of it."""
    if not definition.private_packages:
        return PUBLIC_SCOPE
    # Short enough for a container's name, which has no two hyphens in a row, and different for names that begin alike.
    start = re.sub("-+", "-", definition.name)[:20].strip("-")
    return private_scope(f"{start}-{hashlib.sha256(definition.name.encode()).hexdigest()[:8]}")


def is_private_scope(scope: str) -> bool:
    """True for every scope but `public` and none at all: a scope that nobody knows is not published."""
    return scope not in ("", PUBLIC_SCOPE)


def is_private_name(name: str) -> bool:
    """True when a part of a name or path is `private` or begins with `private-`, in any case."""
    parts = name.replace("\\", "/").lower().split("/")
    return any(part == PRIVATE or part.startswith(f"{PRIVATE}-") for part in parts)


def private_mark_setting(scope: str) -> RegistrySetting:
    """The registry value that marks an image from inside; it survives generalize and a copy under another name."""
    return RegistrySetting(path=MARK_KEY, name=MARK_VALUE, type=RegistryType.STRING, value=scope)


def mark_of(inventory: Inventory) -> str | None:
    """The scope that an image bears inside, None for an image without the mark."""
    value = _value(inventory, MARK_VALUE)
    return None if value is None else str(value)


def fix_was_present(inventory: Inventory) -> bool | None:
    """True when the base held the private fix already, False when it did not, None when nobody can tell (an .exe) or there was no fix."""
    value = _value(inventory, PRESENT_VALUE)
    return None if value is None else value == 1


def _value(inventory: Inventory, name: str) -> int | str | list[str] | None:
    for value in inventory.registry:
        if value.path.lower() == MARK_KEY.lower() and value.name.lower() == name.lower():
            return value.value
    return None


class Evidence(Frozen):
    """What is known of something that is about to be published or copied; leave out what is not known."""

    plan_private: bool = Field(default=False, description="BuildPlan.private.")
    scopes: tuple[str, ...] = Field(default=(), description="Values of the tag `scope` of its resources.")
    names: tuple[str, ...] = Field(default=(), description="Names and paths: image, build, container, blob, resource group, address.")
    metadata: tuple[tuple[str, str], ...] = Field(default=(), description="Metadata of its blob and of the blob's container.")
    inventory: Inventory | None = Field(default=None, description="Its inventory, which lists the mark's key.")
    mark: str | None = Field(default=None, description="The mark that was read from the disk itself.")


def metadata_pairs(*sources: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    """Metadata of several objects, as Evidence holds it."""
    return tuple(pair for source in sources if source for pair in source.items())


def signs_of_privacy(evidence: Evidence) -> tuple[str, ...]:
    """Why this is private work, one text a sign, none of which names anything; empty for public work."""
    return tuple(_signs(evidence))


def _signs(evidence: Evidence) -> Iterator[str]:
    if evidence.plan_private:
        yield "its plan is private"
    if any(is_private_scope(scope) for scope in evidence.scopes):
        yield "the scope in its tags"
    if any(is_private_name(name) for name in evidence.names):
        yield "its name or place"
    # Azure gives metadata back in another case than it was written in.
    if any(name.lower() == SCOPE_FIELD and is_private_scope(value) for name, value in evidence.metadata):
        yield "the metadata of its blob or container"
    if evidence.inventory is not None and mark_of(evidence.inventory) is not None:
        yield "the mark in its inventory"
    if evidence.mark is not None:
        yield "the mark inside the image"


def refuse_private(action: str, *evidence: Evidence) -> None:
    """Raises PrivateImageError when any of the evidence shows private work; `action` says what was tried, for example "copy a VHD"."""
    signs = _once(sign for each in evidence for sign in signs_of_privacy(each))
    if signs:
        raise PrivateImageError(f"refused to {action}: it is private work. Signs of it: {', '.join(signs)}")


def require_private_place(scope: str, container: str) -> None:
    """Raises PrivateImageError when results of a private scope would go into a container that is not private-<id>."""
    if is_private_scope(scope) and not is_private_name(container):
        raise PrivateImageError("refused to store results of a private build in a container that others read")


def _once(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))
