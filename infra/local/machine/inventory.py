"""The inventory of a live machine, as Get-Inventory.ps1 lists it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from images.inventory import (
    CachedFile,
    ContainerImage,
    Defender,
    Feature,
    Inventory,
    OperatingSystem,
    Qfe,
    RegistryValue,
    Runtime,
    ScheduledTask,
    Service,
)
from infra.local.machine import cbs, containerd, features, services
from infra.local.machine.containerd import StoredImage
from infra.local.machine.defender import defender_state
from infra.local.machine.disk import MachineDisk
from infra.local.machine.filetime import iso
from infra.local.machine.model import Machine
from infra.local.machine.scheduled_tasks import task_paths
from infra.local.machine.udp_exclusions import excluded_udp_ports
from infra.local.machine.update_history import history_titles

VHD_ID_FILE = r"C:\vhd-id.txt"


def take_inventory(machine: Machine, cache_roots: Sequence[str], tool_roots: Sequence[str], registry_paths: Sequence[str]) -> Inventory:
    """Everything that is on the machine now; files below the roots with their hashes."""
    disk = machine.disk
    defender = defender_state(disk)
    vhd_id = disk.path(VHD_ID_FILE)
    return Inventory(
        os=OperatingSystem(
            product_name=machine.product.name,
            build=machine.build,
            ubr=machine.ubr,
            installation_type=str(disk.make_key(r"HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion").get("InstallationType", "")),
            generation=disk.generation,
        ),
        vhd_id=vhd_id.read_text(encoding="utf-8").strip() if vhd_id.exists() else "",
        features=tuple(_features(machine, "", 0)),
        capabilities=cbs.capabilities(disk),
        qfes=tuple(Qfe(kb=fix.kb, description=fix.description, support_link=fix.support_link) for fix in cbs.hotfixes(disk)),
        updates=history_titles(disk),
        services=tuple(
            Service(name=service.name, start_mode=service.start_mode, state=machine.service_state(service))
            for service in services.list_services(disk)
        ),
        defender=Defender(
            platform_version=defender.platform, signature_version=defender.signatures, signatures_updated=iso(defender.updated)
        )
        if defender
        else None,
        # What ServicePointManager allows by default: .NET 4.7.2 of 17763 names protocols, later ones leave it to Windows.
        security_protocols="Tls, Tls11, Tls12" if machine.build == 17763 else "SystemDefault",
        registry=_registry(disk, registry_paths),
        excluded_udp_ports=excluded_udp_ports(disk),
        runtime=_runtime(disk),
        container_images=tuple(_image(disk, image, machine.build) for image in containerd.images(disk)),
        cached_files=_files(disk, cache_roots),
        tools=_files(disk, tool_roots),
        # The build's own tasks, this one among them, are gone after the last contact.
        scheduled_tasks=tuple(ScheduledTask(path=path) for path in task_paths(disk) if not path.lower().startswith("\\winvhd-")),
        free_bytes=machine.free_bytes,
        total_bytes=machine.total_bytes,
    )


def _features(machine: Machine, parent: str, depth: int) -> Iterator[Feature]:
    """Installed features as Get-WindowsFeature shows them: parents before children, siblings by display name."""
    children = [
        feature
        for feature in machine.catalogue.features
        if feature.parent == parent and features.feature_state(machine.disk, feature.name) == features.INSTALLED
    ]
    for feature in sorted(children, key=lambda child: child.display_name.casefold()):
        yield Feature(name=feature.name, display_name=feature.display_name, depth=depth)
        yield from _features(machine, feature.name, depth + 1)


def _registry(disk: MachineDisk, paths: Sequence[str]) -> tuple[RegistryValue, ...]:
    found = []
    for path in paths:
        key = disk.key(path)
        for name, kind, data in key.values.values() if key else ():
            found.append(RegistryValue(path=path, name=name, type=kind, value=data.hex() if isinstance(data, bytes) else data))
    return tuple(sorted(found, key=lambda value: (value.path.lower(), value.name.lower())))


def _runtime(disk: MachineDisk) -> Runtime | None:
    version = containerd.program_version(disk)
    if version is None:
        return None
    config = disk.path(containerd.CONFIG)
    digest = hashlib.sha256(config.read_bytes()).hexdigest() if config.exists() else ""
    return Runtime(name="containerd", version=version, config_sha256=digest)


def _image(disk: MachineDisk, image: StoredImage, windows_build: int) -> ContainerImage:
    """What the store holds of an image: sizes of the content that is there, and the config that this build of Windows would use."""
    sizes: dict[str, int] = {}
    document = _document(disk, image.digest, sizes)
    platforms: tuple[str, ...] = ()
    config_digest = ""
    if document is not None and "manifests" in document:
        chosen = containerd.host_manifest(document, windows_build)
        platforms = tuple(sorted(_platform(entry.get("platform", {})) for entry in document["manifests"]))
        for entry in document["manifests"]:
            manifest = _document(disk, entry["digest"], sizes)
            if manifest is None:
                continue
            for part in (manifest["config"], *manifest["layers"]):
                _size(disk, part["digest"], sizes)
            if entry == chosen:
                config_digest = manifest["config"]["digest"]
    elif document is not None:
        config_digest = document["config"]["digest"]
        for part in document["layers"]:
            _size(disk, part["digest"], sizes)
        platforms = (_platform(_document(disk, config_digest, sizes) or {}),)
    return ContainerImage(
        name=image.name,
        digest=image.digest,
        media_type=image.media_type,
        config_digest=config_digest,
        size_bytes=sum(sizes.values()),
        platforms=platforms,
    )


def _size(disk: MachineDisk, digest: str, sizes: dict[str, int]) -> None:
    file = disk.path(rf"{containerd.BLOBS}\{digest.removeprefix('sha256:')}")
    if file.exists():
        sizes[digest] = file.stat().st_size


def _document(disk: MachineDisk, digest: str, sizes: dict[str, int]) -> dict[str, Any] | None:
    _size(disk, digest, sizes)
    raw = containerd.read_blob(disk, digest)
    document = json.loads(raw) if raw is not None else None
    return document if isinstance(document, dict) else None


def _platform(platform: dict[str, str]) -> str:
    return "/".join(part for name in ("os", "architecture", "os.version") if (part := platform.get(name, "")))


def _files(disk: MachineDisk, roots: Sequence[str]) -> tuple[CachedFile, ...]:
    found = []
    for root in roots:
        folder = disk.path(root)
        for file in sorted(folder.rglob("*")) if folder.is_dir() else ():
            if file.is_file():
                found.append(CachedFile(path=_windows_path(root, folder, file), sha256=_sha256(file), size_bytes=file.stat().st_size))
    return tuple(sorted(found, key=lambda file: file.path))


def _windows_path(root: str, folder: Path, file: Path) -> str:
    return root.rstrip("\\") + "\\" + "\\".join(file.relative_to(folder).parts)


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
