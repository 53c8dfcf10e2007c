"""The inventory of an image from its disk alone, without starting it.

What it can not know is in images.agreement.GENERALIZE_CHANGES; everything else must agree with the inventory of the live guest.
"""

from __future__ import annotations

from collections.abc import Sequence

from images.inventory import Inventory
from images.privacy import MARK_KEY
from infra.vhd.content_store import read_images
from infra.vhd.hives import open_hive
from infra.vhd.image_file import DiskImage, open_image
from infra.vhd.ntfs import NtfsVolume
from infra.vhd.offline_files import read_files, read_runtime, read_scheduled_tasks, read_update_titles, read_vhd_id
from infra.vhd.offline_registry import (
    read_capabilities,
    read_defender,
    read_excluded_udp_ports,
    read_features,
    read_operating_system,
    read_qfes,
    read_registry_values,
    read_services,
)
from infra.vhd.partitions import read_partitions, windows_partition
from infra.vhd.source import ByteSource

CACHE_ROOTS = (r"C:\akse-cache",)
TOOL_ROOTS = (r"C:\aks-tools",)
REGISTRY_PATHS = (
    r"HKLM:\SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate",
    r"HKLM:\SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate\AU",
    MARK_KEY,
    r"HKLM:\SYSTEM\CurrentControlSet\Services\VfpExt\Parameters",
    r"HKLM:\SYSTEM\CurrentControlSet\Services\hns\State",
    r"HKLM:\SYSTEM\CurrentControlSet\Control\Windows Containers",
    r"HKLM:\SYSTEM\CurrentControlSet\Policies\Microsoft\FeatureManagement\Overrides",
    r"HKLM:\Software\Microsoft\Cryptography\Wintrust\Config",
    r"HKLM:\Software\Wow6432Node\Microsoft\Cryptography\Wintrust\Config",
)
"""What the published release notes of AKS Windows images list (Azure/AgentBaker, vhdbuilder/release-notes/AKSWindows); and our own mark."""


def inspect_disk(
    source: ByteSource,
    *,
    hash_files: bool,
    cache_roots: Sequence[str] = CACHE_ROOTS,
    tool_roots: Sequence[str] = TOOL_ROOTS,
    registry_paths: Sequence[str] = REGISTRY_PATHS,
    require_footer: bool = False,
) -> Inventory:
    """The inventory of a fixed or dynamic VHD or raw disk; sha256 of cached files and tools only with hash_files.

    Raises VhdError for a disk that is damaged or holds no Windows; what the source itself raises is passed on.
    """
    return inspect_image(
        open_image(source, require_footer=require_footer),
        hash_files=hash_files,
        cache_roots=cache_roots,
        tool_roots=tool_roots,
        registry_paths=registry_paths,
    )


def inspect_image(
    image: DiskImage, *, hash_files: bool, cache_roots: Sequence[str], tool_roots: Sequence[str], registry_paths: Sequence[str]
) -> Inventory:
    """As inspect_disk, for an image that is open already."""
    table = read_partitions(image.disk, image.size_bytes)
    part = windows_partition(image.disk, table)
    with (
        NtfsVolume(image.disk, part.offset, part.size_bytes) as volume,
        open_hive(volume, "SOFTWARE") as software_hive,
        open_hive(volume, "SYSTEM") as system_hive,
    ):
        software, system = software_hive.root, system_hive.root
        control_set = system_hive.control_set()
        operating_system = read_operating_system(software, table.generation)
        return Inventory(
            os=operating_system,
            vhd_id=read_vhd_id(volume),
            features=read_features(software),
            capabilities=read_capabilities(software),
            qfes=read_qfes(software, volume),
            updates=read_update_titles(volume),
            services=read_services(control_set),
            defender=read_defender(software),
            security_protocols="",
            registry=read_registry_values(software, system, control_set, registry_paths),
            excluded_udp_ports=read_excluded_udp_ports(control_set),
            runtime=read_runtime(volume, control_set),
            container_images=read_images(volume, operating_system.build),
            cached_files=read_files(volume, cache_roots, hash_files=hash_files),
            tools=read_files(volume, tool_roots, hash_files=hash_files),
            scheduled_tasks=read_scheduled_tasks(volume),
            free_bytes=volume.free_bytes(),
            total_bytes=volume.size_bytes,
        )
