"""An inventory for a terminal: what an image is in a few lines, then its parts."""

from __future__ import annotations

from collections.abc import Iterable

from images.inventory import Inventory
from images.notes.facts import human_size, tagged


def render_summary(inventory: Inventory) -> str:
    """Plain text, ends with a line break; the same inventory gives the same bytes."""
    system, defender, runtime = inventory.os, inventory.defender, inventory.runtime
    tags = tagged(inventory.container_images)
    cached = sum(file.size_bytes for file in inventory.cached_files)
    lines = [
        f"{system.product_name} {system.version} ({system.installation_type}, {system.generation})",
        f"  VHD id     {inventory.vhd_id or 'none'}",
        f"  runtime    {f'{runtime.name} {runtime.version}' if runtime else 'none'}",
        f"  Defender   {f'{defender.platform_version}, signatures {defender.signature_version}' if defender else 'none'}",
        f"  on it      {len(inventory.qfes)} QFEs, {len(inventory.features)} features, {len(inventory.services)} services,"
        f" {len(tags)} container images, {len(inventory.cached_files)} cached files ({human_size(cached)})",
        f"  free       {human_size(inventory.free_bytes)} of {human_size(inventory.total_bytes)}",
    ]
    lines += _section("QFEs", (f"{qfe.kb}  {qfe.description}" for qfe in inventory.qfes))
    lines += _section("Updates", inventory.updates)
    lines += _section("Features", (f"{'  ' * feature.depth}{feature.display_name} ({feature.name})" for feature in inventory.features))
    lines += _section("Capabilities", inventory.capabilities)
    width = max((len(service.name) for service in inventory.services), default=0)
    lines += _section("Services", (f"{service.name:<{width}}  {service.start_mode}" for service in inventory.services))
    values = (f"{value.path}\\{value.name} = {value.value}" for value in inventory.registry)
    lines += _section("Registry", (*values, *(f"excluded UDP port {port}" for port in inventory.excluded_udp_ports)))
    width = max((len(image.name) for image in tags), default=0)
    lines += _section("Container images", (f"{image.name:<{width}}  {image.digest}  {human_size(image.size_bytes)}" for image in tags))
    for title, files in (("Cached files", inventory.cached_files), ("Tools", inventory.tools)):
        lines += _section(title, (f"{file.size_bytes:>12}  {file.sha256 + '  ' if file.sha256 else ''}{file.path}" for file in files))
    lines += _section("Scheduled tasks", (task.path for task in inventory.scheduled_tasks))
    return "\n".join(lines) + "\n"


def _section(title: str, rows: Iterable[str]) -> list[str]:
    shown = [f"  {row}" for row in rows]
    return ["", title, *shown] if shown else []
