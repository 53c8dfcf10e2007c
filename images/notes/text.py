"""release-notes.txt, in the layout that readers of AKS Windows release notes know, with the services added.

The layout follows the published notes of Azure/AgentBaker (vhdbuilder/release-notes/AKSWindows).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from images.inventory import CachedFile, ContainerImage, Feature, Inventory, RegistryValue
from images.notes.facts import ReleaseFacts, human_size

UPDATE_SETTINGS_LINK = "https://docs.microsoft.com/en-us/windows/deployment/update/waas-wu-settings"
# Get-WindowsFeature cuts what does not fit into its columns.
_FEATURE_DISPLAY_WIDTH = 55
_FEATURE_NAME_WIDTH = 23


def render_text(facts: ReleaseFacts) -> str:
    """The notes as text; the same facts give the same bytes."""
    inventory = facts.inventory
    sections = [
        _build(facts),
        [f"VHD ID:      {inventory.vhd_id}"],
        _system(inventory),
        [f"Allowed security protocols: {inventory.security_protocols}"],
        ["Installed Features", "", *_features(inventory.features), "", ""],
        ["Installed Packages", *(f"\t{name}" for name in inventory.capabilities)],
        ["Installed QFEs", *(f"\t{qfe.kb} : {facts.kind_of(qfe):<15} : {qfe.support_link}" for qfe in inventory.qfes)],
        ["Installed Updates", *(f"\t{title}" for title in inventory.updates)],
        ["Windows Update Registry Settings", f"\t{UPDATE_SETTINGS_LINK}", *_registry(inventory.registry)],
        ["Services", *_services(inventory)],
        ["ContainerD Info", *_runtime(inventory)],
        ["Images:", *_images(inventory.container_images)],
        ["Cached Files:", "", *_cached_files(inventory.cached_files)],
        ["Tools:", "", *_cached_files(inventory.tools)],
    ]
    return "\n".join("\n".join([*section, ""]) for section in sections if section)


def _build(facts: ReleaseFacts) -> list[str]:
    return [
        f"Build Number: {facts.build_number}",
        f"Build Id:     {facts.build_id}",
        f"Build Repo:   {facts.source.repository}",
        f"Build Branch: {facts.source.branch}",
        f"Commit:       {facts.source.commit}",
    ]


def _system(inventory: Inventory) -> list[str]:
    return [
        "System Info",
        f"\tOS Name        : {inventory.os.product_name}",
        f"\tOS Version     : {inventory.os.version}",
        f"\tOS InstallType : {inventory.os.installation_type}",
    ]


def _features(features: Iterable[Feature]) -> list[str]:
    lines = [
        f"{'Display Name':<56}{'Name':<27}Install State",
        f"{'------------':<56}{'----':<27}-------------",
    ]
    for feature in features:
        name = _cut(feature.name, _FEATURE_NAME_WIDTH)
        display = _cut(f"{'    ' * feature.depth}[X] {feature.display_name}", _FEATURE_DISPLAY_WIDTH)
        lines.append(f"{display:<56}{name:<27}{'Installed':>13}")
    return lines


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."


def _registry(values: Sequence[RegistryValue]) -> list[str]:
    lines: list[str] = []
    for path, group in groupby(values, key=lambda value: value.path):
        lines.append(f"\t{path}")
        lines.extend(f"\t\t{value.name} : {_shown(value.value)}" for value in group)
    return lines


def _shown(value: int | str | list[str]) -> str:
    return " ".join(value) if isinstance(value, list) else str(value)


def _services(inventory: Inventory) -> list[str]:
    width = max((len(service.name) for service in inventory.services), default=0)
    return [f"\t{service.name:<{width}} : {service.start_mode:<14} : {service.state}".rstrip(" :") for service in inventory.services]


def _runtime(inventory: Inventory) -> list[str]:
    if inventory.runtime is None:
        return ["No container runtime"]
    return [f"Version: ctr github.com/containerd/containerd {inventory.runtime.version}"]


def _images(images: Sequence[ContainerImage]) -> list[str]:
    rows = [("REF", "TYPE", "DIGEST", "SIZE", "PLATFORMS", "LABELS")]
    for image in images:
        platforms = ",".join(image.platforms) or "-"
        rows.append(
            (image.name, image.media_type, image.digest, human_size(image.size_bytes), platforms, "io.cri-containerd.image=managed")
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [" ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _order(file: CachedFile) -> tuple[str, str]:
    folder, _, name = file.path.lower().rpartition("\\")
    return folder, name


def _cached_files(files: Iterable[CachedFile]) -> list[str]:
    ordered = sorted(files, key=_order)
    width = max((len(file.path) for file in ordered), default=len("File"))
    sizes = max([len("SizeBytes"), *(len(str(file.size_bytes)) for file in ordered)])
    lines = [f"{'File':<{width}} {'Sha256':<64} {'SizeBytes':>{sizes}}", f"{'----':<{width}} {'------':<64} {'---------':>{sizes}}"]
    lines.extend(f"{file.path:<{width}} {file.sha256.upper():<64} {file.size_bytes:>{sizes}}" for file in ordered)
    return lines
