"""A small inventory, and the facts of a build around any inventory."""

from __future__ import annotations

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
from images.notes.facts import BuildSource, ReleaseFacts


def small_inventory(**changes: Any) -> Inventory:
    """One of everything; the given fields are other ones."""
    fields: dict[str, Any] = {
        "os": OperatingSystem(
            product_name="Windows Server 2022 Datacenter", build=20348, ubr=5499, installation_type="Server Core", generation="V2"
        ),
        "vhd_id": "5efdb411-d282-42e1-bf30-28afea683e16",
        "features": (
            Feature(name="Containers", display_name="Containers"),
            Feature(name="RSAT", display_name="Remote Server Administration Tools"),
            Feature(name="RSAT-Role-Tools", display_name="Role Administration Tools", depth=1),
        ),
        "capabilities": ("OpenSSH.Client~~~~0.0.1.0", "OpenSSH.Server~~~~0.0.1.0"),
        "qfes": (Qfe(kb="KB5120241", description="Security Update", support_link="https://support.microsoft.com/kb/5120241"),),
        "updates": ("2026-08 Cumulative Update",),
        "services": (Service(name="containerd", start_mode="Auto", state="Running"), Service(name="WinRM", start_mode="Auto (Delayed)")),
        "defender": Defender(platform_version="4.18.1", signature_version="1.457.1", signatures_updated="2026-08-12T01:00:00Z"),
        "security_protocols": "SystemDefault",
        "registry": (
            RegistryValue(path=r"HKLM:\SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate\AU", name="NoAutoUpdate", type="DWord", value=1),
            RegistryValue(path=r"HKLM:\SYSTEM\CurrentControlSet\Services\hns\State", name="A", type="DWord", value=1),
            RegistryValue(path=r"HKLM:\SYSTEM\CurrentControlSet\Services\hns\State", name="B", type="MultiString", value=["one", "two"]),
        ),
        "excluded_udp_ports": (65330,),
        "runtime": Runtime(name="containerd", version="v1.7.20+azure", config_sha256="c" * 64),
        "container_images": images_of("mcr.microsoft.com/oss/pause:3.10", digest="d" * 64, config="e" * 64),
        "cached_files": (CachedFile(path=r"c:\akse-cache\csi-proxy\csi-proxy.tar.gz", sha256="a" * 64, size_bytes=7539942),),
        "tools": (),
        "scheduled_tasks": (ScheduledTask(path=r"\aks-expand-volume"),),
        "free_bytes": 10,
        "total_bytes": 20,
    }
    return Inventory.model_validate({**fields, **changes})


def images_of(*tags: str, digest: str, config: str, size_bytes: int = 113351066) -> tuple[ContainerImage, ...]:
    """The names that containerd's CRI plugin gives an image: its tags, repository@digest, and the digest of its config."""
    names = [*sorted({*tags, *(f"{tag.rpartition(':')[0]}@sha256:{digest}" for tag in tags)}), f"sha256:{config}"]
    return tuple(
        ContainerImage(
            name=name,
            digest=f"sha256:{digest}",
            media_type="application/vnd.oci.image.index.v1+json",
            config_digest=f"sha256:{config}",
            size_bytes=size_bytes,
            platforms=("linux/amd64", "windows/amd64"),
        )
        for name in names
    )


def facts_of(inventory: Inventory, **changes: Any) -> ReleaseFacts:
    """A build that made this inventory."""
    fields: dict[str, Any] = {
        "image": "windows-2022-containerd",
        "build_id": "0f3a",
        "build_number": "20260812.1",
        "image_version": "20348.5499.26081201",
        "source": BuildSource(repository="https://github.example/winvhd", branch="main", commit="87b4b34e7555678f4ec1fbe3adf699333f44996f"),
        "base_urn": "MicrosoftWindowsServer:windowsserver2022:2022-datacenter-core-smalldisk-g2:20348.5499.260809",
        "generation": "V2",
        "trusted_launch": False,
        "inventory": inventory,
    }
    return ReleaseFacts.model_validate({**fields, **changes})
