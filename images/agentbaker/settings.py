"""windows_settings.json: base image, patches and registry values of one SKU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from images.agentbaker.components import applies
from images.agentbaker.source import Json, Source, objects_of, text_of
from images.definition import BaseImage, Generation, RegistryOperation, RegistrySetting, RegistryType, Update
from images.errors import DefinitionError, Problem
from images.loading.suggestions import did_you_mean

_OPERATIONS: Final[Mapping[str, RegistryOperation]] = {"": RegistryOperation.REPLACE, "bor": RegistryOperation.OR}
_NUMBERS: Final = frozenset({RegistryType.DWORD, RegistryType.QWORD})


def base_version(source: Source, sku: str) -> dict[str, Json]:
    """The SKU's entry of WindowsBaseVersions; raises DefinitionError with the names there are."""
    versions = source.data.get("windowsbaseversions")
    known = versions if isinstance(versions, dict) else {}
    entry = known.get(sku.lower())
    if isinstance(entry, dict):
        return entry
    hint = f"{did_you_mean(sku, known)} available: {', '.join(known)}".strip()
    raise DefinitionError([Problem(source.file, source.line_of("WindowsBaseVersions"), "WindowsBaseVersions", f'no SKU "{sku}"', hint)])


def base_image(source: Source, sku: str) -> tuple[BaseImage | None, int]:
    """Base image and OS disk size in GiB of a SKU; the generation is what the marketplace SKU's suffix says."""
    entry = base_version(source, sku)
    path = f"WindowsBaseVersions.{sku}"
    fields = {key: text_of(entry, f"base_image_{key}") for key in ("publisher", "offer", "sku", "version")}
    missing = [f"base_image_{key}" for key, value in fields.items() if not value]
    disk = str(entry.get("os_disk_size", ""))
    if not disk.isdigit():
        missing.append("os_disk_size")
    if missing:
        source.fault(path, f"lacks {', '.join(missing)}", near=sku)
        return None, 0
    generation = Generation.V2 if str(fields["sku"]).lower().endswith("-g2") else Generation.V1
    base = BaseImage.model_validate({**fields, "generation": generation, "trusted_launch": sku.lower().endswith("-tl")})
    return base, int(disk)


def updates(source: Source, sku: str) -> tuple[Update, ...]:
    """The patches of a SKU, in the file's order."""
    found: list[Update] = []
    for index, patch in enumerate(objects_of(base_version(source, sku).get("patches_to_apply"))):
        kb, url = text_of(patch, "id") or text_of(patch, "kb"), text_of(patch, "url")
        if not kb or not url:
            source.fault(f"WindowsBaseVersions.{sku}.patches_to_apply[{index}]", "needs id and url", near=sku)
            continue
        found.append(Update(kb=kb.upper(), url=url))
    return tuple(found)


def registry(source: Source, sku: str) -> tuple[RegistrySetting, ...]:
    """The registry values of a SKU, in the file's order."""
    return tuple(
        setting
        for path, entry in source.entries("WindowsRegistryKeys")
        if applies(entry, sku) and (setting := _setting(source, path, entry)) is not None
    )


def _setting(source: Source, path: str, entry: dict[str, Json]) -> RegistrySetting | None:
    key, name = text_of(entry, "Path"), text_of(entry, "Name")
    kind_name = text_of(entry, "Type") or RegistryType.DWORD.value
    kind = next((kind for kind in RegistryType if kind.value.lower() == kind_name.lower()), None)
    operation = _OPERATIONS.get((text_of(entry, "Operation") or "").lower())
    value = entry.get("value")
    if key is None or name is None or value is None or kind is None or operation is None:
        source.fault(path, "needs Path, Name, Value, a known Type and, if any, the Operation bor", near=name or "")
        return None
    number = _number(value) if kind in _NUMBERS else None
    if kind in _NUMBERS and number is None:
        source.fault(f"{path}.Value", f"{value!r} is no number", near=name)
        return None
    return RegistrySetting(
        path=key,
        name=name,
        type=kind,
        value=number if number is not None else str(value),
        operation=operation,
        comment=" ".join((text_of(entry, "Comment") or "").split()),
    )


def _number(value: Json) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    try:
        return int(str(value), 0)
    except ValueError:
        return None
