"""Inventory: what is really on an image. Collected twice, from the live guest and from the captured disk; the two must agree."""

from __future__ import annotations

from pydantic import Field

from images.frozen import Frozen


class OperatingSystem(Frozen):
    """Windows' own words about itself (HKLM\\SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion)."""

    product_name: str
    build: int = Field(description="CurrentBuildNumber, for example 20348.")
    ubr: int = Field(description="Update build revision, for example 5499.")
    installation_type: str = Field(description="Server Core, Server.")
    generation: str = Field(description="V1 (MBR) or V2 (GPT).")

    @property
    def version(self) -> str:
        """build.UBR, for example 20348.5499."""
        return f"{self.build}.{self.ubr}"


class Feature(Frozen):
    """An installed server feature; depth is its place in the tree of features."""

    name: str
    display_name: str
    depth: int = 0


class Qfe(Frozen):
    """An installed update, as Get-HotFix shows it."""

    kb: str
    description: str
    support_link: str


class Service(Frozen):
    """A Windows service; state is empty when it was read from a disk."""

    name: str
    start_mode: str = Field(description="Boot, System, Auto, Manual or Disabled; Auto (Delayed) when DelayedAutoStart is set.")
    state: str = ""


class Defender(Frozen):
    """Versions of Defender's parts; the signatures' time is ISO 8601, UTC."""

    platform_version: str
    signature_version: str
    signatures_updated: str


class RegistryValue(Frozen):
    """One registry value; numbers as numbers, everything else as text or a list of texts."""

    path: str = Field(description=r"HKLM:\…, with CurrentControlSet rather than the number of a control set.")
    name: str
    type: str
    value: int | str | list[str]


class CachedFile(Frozen):
    """A file under the image's caches; sha256 in lower case."""

    path: str
    sha256: str
    size_bytes: int


class ContainerImage(Frozen):
    """A container image in containerd's k8s.io namespace."""

    name: str
    digest: str = Field(description="Digest of the manifest or index that the name points at.")
    media_type: str = ""
    config_digest: str = Field(default="", description="Digest of the config for this Windows build.")
    size_bytes: int = Field(default=0, description="Sum of the compressed content that is in the store.")
    platforms: tuple[str, ...] = ()


class Runtime(Frozen):
    """The container runtime and the hash of its configuration."""

    name: str
    version: str
    config_sha256: str


class ScheduledTask(Frozen):
    """A scheduled task outside \\Microsoft."""

    path: str


class Inventory(Frozen):
    """What is on an image; every list is sorted, so that the same image gives the same bytes."""

    os: OperatingSystem
    vhd_id: str = Field(description="Content of C:\\vhd-id.txt, a GUID.")
    features: tuple[Feature, ...]
    capabilities: tuple[str, ...]
    qfes: tuple[Qfe, ...]
    updates: tuple[str, ...] = Field(description="Titles of updates in the Windows Update history (live only).")
    services: tuple[Service, ...]
    defender: Defender | None
    security_protocols: str
    registry: tuple[RegistryValue, ...] = Field(description="Windows Update policy, node and hardening settings.")
    excluded_udp_ports: tuple[int, ...]
    runtime: Runtime | None
    container_images: tuple[ContainerImage, ...]
    cached_files: tuple[CachedFile, ...]
    tools: tuple[CachedFile, ...]
    scheduled_tasks: tuple[ScheduledTask, ...]
    free_bytes: int
    total_bytes: int

    def kbs_since(self, before: Inventory) -> tuple[str, ...]:
        """KBs of the QFEs that an earlier inventory does not have, sorted."""
        return tuple(sorted({qfe.kb for qfe in self.qfes} - {qfe.kb for qfe in before.qfes}))
