"""ImageDefinition: what a user writes about one image (images/definitions/*.yaml)."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from images.frozen import Frozen

# Every pattern is also valid in ECMA-262, the dialect of JSON Schema, and linear in the backtracking engines of editors.
WindowsPath = Annotated[str, StringConstraints(pattern=r'^[A-Za-z]:\\[^<>:"/|?*\x00-\x1f]*$', max_length=240)]
HttpUrl = Annotated[str, StringConstraints(pattern=r"^https?://[^\s/]+/\S+$", max_length=2000)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
KbNumber = Annotated[str, StringConstraints(pattern=r"^KB\d{6,8}$")]
ImageReference = Annotated[str, StringConstraints(pattern=r"^[a-z0-9.-]+(?::\d+)?/[a-z0-9._/-]+(?::[A-Za-z0-9_][A-Za-z0-9._-]{0,127})$")]
RegistryPath = Annotated[
    str, StringConstraints(pattern=r"^HKLM:\\([Ss][Oo][Ff][Tt][Ww][Aa][Rr][Ee]|[Ss][Yy][Ss][Tt][Ee][Mm])\\.+$", max_length=400)
]


class Generation(StrEnum):
    """Hyper-V generation of the VM: V1 boots by BIOS and MBR, V2 by UEFI and GPT."""

    V1 = "V1"
    V2 = "V2"


class BaseImage(Frozen):
    """The marketplace image a build starts from."""

    publisher: str = Field(min_length=1, description="Marketplace publisher, for example MicrosoftWindowsServer.")
    offer: str = Field(min_length=1, description="Marketplace offer, for example WindowsServer.")
    sku: str = Field(min_length=1, description="Marketplace SKU; the Core smalldisk SKUs are meant for containers.")
    version: str = Field(
        pattern=r"^(latest|\d+(\.\d+)*(\.\*)?)$",
        description="Exact version build.UBR.date, a prefix such as 20348.*, or latest; a lock always holds the exact one.",
    )
    generation: Generation = Field(default=Generation.V1, description="Hyper-V generation.")
    trusted_launch: bool = Field(default=False, description="Publish with Secure Boot and vTPM; needs generation V2.")

    @model_validator(mode="after")
    def _trusted_launch_needs_v2(self) -> Self:
        if self.trusted_launch and self.generation is not Generation.V2:
            raise ValueError("trusted_launch needs generation V2")
        return self

    @property
    def urn(self) -> str:
        """publisher:offer:sku:version, the form that az and the portal use."""
        return f"{self.publisher}:{self.offer}:{self.sku}:{self.version}"

    @property
    def windows_build(self) -> int | None:
        """The Windows build (17763, 20348, 26100) when the version names one."""
        match = re.match(r"\d+", self.version)
        return int(match.group()) if match else None


class Update(Frozen):
    """One QFE to install."""

    kb: KbNumber = Field(description="KB number of the update, with the letters KB.")
    url: HttpUrl | None = Field(default=None, description="Where the .msu or .cab is; without it the Windows Update agent installs the KB.")
    build: str | None = Field(default=None, pattern=r"^\d+\.\d+$", description="build.UBR that Windows must report afterwards.")


class FollowedUpdates(StrEnum):
    """Which of Microsoft's monthly cumulative updates a lock takes from the update feed."""

    NONE = "none"
    """Only what the definition lists itself."""
    B_WEEK = "b-week"
    """The security release of the second Tuesday."""
    PREVIEW = "preview"
    """The optional preview of week C or D where there is one, which is not a security release."""


class ContainerRuntime(Frozen):
    """The container runtime to install and to start as a service."""

    name: Literal["containerd"] = Field(default="containerd", description="containerd is the only runtime Windows nodes use.")
    version: str = Field(min_length=1, description="Version as the node bootstrap names it, for example 1.7.20-azure.1.")
    url: HttpUrl = Field(description="Archive (.tar.gz or .zip) that holds bin/containerd.exe and bin/ctr.exe.")


class Package(Frozen):
    """One file to place on the image."""

    url: HttpUrl = Field(description="Where the file comes from; its hash is in the lock.")
    destination: WindowsPath = Field(description=r"Folder on the image, for example C:\akse-cache\win-k8s\.")
    file_name: str | None = Field(
        default=None, pattern=r'^[^<>:"/\\|?*\s][^<>:"/\\|?*]*$', description="Name on the image; default: the last part of the URL."
    )
    kubernetes_version: str | None = Field(
        default=None,
        pattern=r"^\d+\.\d+(\.\d+[A-Za-z0-9.+-]*)?$",
        description="Kubernetes version whose node bootstrap needs this file: exact (1.34.9), or a minor (1.34) for all of it.",
    )
    expand: bool = Field(default=False, description="Unpack it into its folder: a tool, not a cached file.")
    sha256: Sha256 | None = Field(default=None, description="Hash its publisher promises; the lock must agree.")

    @property
    def name(self) -> str:
        """The base name of the file on the image."""
        return self.file_name or self.url.split("?", 1)[0].rstrip("/").rsplit("/", 1)[-1]

    @property
    def path(self) -> str:
        """The full path of the file on the image."""
        return f"{self.destination.rstrip(chr(92))}{chr(92)}{self.name}"


class OciArtifact(Frozen):
    """An OCI artifact whose files (layers with a title) are placed in a folder."""

    reference: ImageReference = Field(description="registry/repository:tag.")
    destination: WindowsPath = Field(description="Folder on the image.")


class PrivatePackage(Frozen):
    """A file whose URL is a secret: the definition names the block that holds it."""

    secret: str = Field(pattern=r"^[a-z0-9-]+$", description="Name of the Prefect Secret block that holds the URL.")
    destination: WindowsPath = Field(description="Folder on the image.")
    file_name: str = Field(pattern=r'^[^<>:"/\\|?*\s][^<>:"/\\|?*]*$', description="Name of the file on the image.")
    sha256: Sha256 = Field(description="Hash of the file: the URL is secret, the bytes are pinned.")


class RegistryType(StrEnum):
    """Registry value types the build can set."""

    DWORD = "DWORD"
    QWORD = "QWORD"
    STRING = "String"
    EXPAND_STRING = "ExpandString"
    MULTI_STRING = "MultiString"


class RegistryOperation(StrEnum):
    """replace sets the value; or sets the given bits in what is already there."""

    REPLACE = "replace"
    OR = "or"


class RegistrySetting(Frozen):
    """One registry value of HKLM\\SOFTWARE or HKLM\\SYSTEM."""

    path: RegistryPath = Field(description=r"Key, for example HKLM:\SYSTEM\CurrentControlSet\Services\hns\State.")
    name: str = Field(min_length=1, max_length=255, description="Name of the value.")
    type: RegistryType = Field(default=RegistryType.DWORD, description="Type of the value.")
    value: int | str | list[str] = Field(description="A number for DWORD and QWORD, else text or a list of texts.")
    operation: RegistryOperation = Field(default=RegistryOperation.REPLACE, description="replace, or `or` for flags.")
    comment: str = Field(default="", description="Why it is set; not part of the image.")

    @model_validator(mode="after")
    def _value_fits_type(self) -> Self:
        limits = {RegistryType.DWORD: 2**32, RegistryType.QWORD: 2**64}
        if self.type in limits:
            if isinstance(self.value, bool) or not isinstance(self.value, int):
                raise ValueError(f"{self.type} needs a number")
            if not 0 <= self.value < limits[self.type]:
                raise ValueError(f"{self.value} does not fit into a {self.type}")
        elif self.operation is RegistryOperation.OR:
            raise ValueError("operation `or` needs DWORD or QWORD")
        elif self.type is RegistryType.MULTI_STRING:
            if not isinstance(self.value, list):
                raise ValueError("MultiString needs a list of texts")
        elif not isinstance(self.value, str):
            raise ValueError(f"{self.type} needs text")
        return self


class TlsProtocol(StrEnum):
    """SChannel protocol names, as their registry keys spell them."""

    SSL_3_0 = "SSL 3.0"
    TLS_1_0 = "TLS 1.0"
    TLS_1_1 = "TLS 1.1"
    TLS_1_2 = "TLS 1.2"
    TLS_1_3 = "TLS 1.3"


class OpenSshHardening(Frozen):
    """sshd_config settings; needs the OpenSSH.Server capability."""

    password_authentication: bool = Field(default=False, description="Allow passwords over SSH.")
    permit_empty_passwords: bool = Field(default=False, description="Allow empty passwords over SSH.")
    ciphers: tuple[str, ...] = Field(default=(), description="Allowed ciphers; empty leaves the default.")
    macs: tuple[str, ...] = Field(default=(), description="Allowed MACs; empty leaves the default.")
    kex_algorithms: tuple[str, ...] = Field(default=(), description="Allowed key exchanges; empty leaves the default.")


class SystemSettings(Frozen):
    """Settings of Windows itself."""

    windows_update_off: bool = Field(default=True, description="Set the policy NoAutoUpdate=1; the service stays enabled.")
    pagefile_mib: int | None = Field(
        default=None, ge=0, le=262144, description="Fixed size; 0 for none; absent leaves Windows to manage it."
    )
    tls_disabled: tuple[TlsProtocol, ...] = Field(default=(), description="Protocols to disable for clients and servers.")
    tls_enabled: tuple[TlsProtocol, ...] = Field(default=(), description="Protocols to enable for clients and servers.")
    excluded_udp_ports: tuple[Annotated[int, Field(ge=1, le=65535)], ...] = Field(
        default=(), description="UDP ports kept from dynamic use."
    )
    openssh: OpenSshHardening | None = Field(default=None, description="Hardening of the OpenSSH server.")

    @model_validator(mode="after")
    def _no_protocol_twice(self) -> Self:
        both = set(self.tls_disabled) & set(self.tls_enabled)
        if both:
            raise ValueError(f"both enabled and disabled: {', '.join(sorted(both))}")
        return self


class DefenderUpdate(Frozen):
    """Defender's platform and signatures, brought up to date late in the build."""

    update_platform: bool = Field(default=True, description="Install the newest antimalware platform.")
    update_signatures: bool = Field(default=True, description="Install the newest signatures.")
    max_signature_age_hours: int = Field(default=48, ge=1, description="Older signatures fail the build.")


class UploadedFile(Frozen):
    """A file of this repository to place on the image."""

    source: str = Field(min_length=1, description="Path inside the repository, for example NOTICE.")
    destination: WindowsPath = Field(description=r"Full path on the image, for example C:\NOTICE.txt.")


class E2ESuite(StrEnum):
    """Suites that a boot test can run on the captured image."""

    FIRST_BOOT = "first-boot"
    NODE_BOOTSTRAP = "node-bootstrap"
    PLAIN_BOOTSTRAP = "plain-bootstrap"
    """The same bootstrap on the plain base image, with the network on: the image is an optimization, never a requirement."""
    NETWORKING = "networking"
    """Pod networking: a network and an endpoint of the host network service. No image has it by default."""


ImageName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,60}[a-z0-9])?$")]


class ImageDefinition(Frozen):
    """One Windows node image, as its author wants it."""

    schema_version: Literal[1] = Field(default=1, description="Version of this schema.")
    name: ImageName = Field(description="Name of the image; the file is called <name>.yaml.")
    description: str = Field(default="", description="One sentence for the UI and the release notes.")
    base: BaseImage
    os_disk_gib: int = Field(ge=30, le=1023, description="Size of the OS disk.")
    features: tuple[str, ...] = Field(default=(), description="Server features by name, as Install-WindowsFeature knows them.")
    capabilities: tuple[str, ...] = Field(default=(), description="Capabilities by full name, for example OpenSSH.Server~~~~0.0.1.0.")
    updates: tuple[Update, ...] = Field(default=(), description="QFEs, in the order in which they are installed.")
    follow_updates: FollowedUpdates = Field(
        default=FollowedUpdates.NONE,
        description="Cumulative updates that the lock takes from the update feed for the base's build: none, b-week (second Tuesday), "
        "or preview (week C or D).",
    )
    container_runtime: ContainerRuntime | None = None
    container_images: tuple[ImageReference, ...] = Field(default=(), description="Container images to cache, registry/repository:tag.")
    packages: tuple[Package, ...] = Field(default=(), description="Files to cache.")
    oci_artifacts: tuple[OciArtifact, ...] = Field(default=(), description="OCI artifacts to cache.")
    private_packages: tuple[PrivatePackage, ...] = Field(default=(), description="Files with secret URLs.")
    registry: tuple[RegistrySetting, ...] = Field(default=(), description="Registry values to set.")
    system: SystemSettings = Field(default_factory=SystemSettings, description="Settings of Windows itself.")
    defender: DefenderUpdate | None = Field(default_factory=DefenderUpdate, description="Defender update; null leaves Defender alone.")
    expand_volume_task: bool = Field(default=True, description="Register the task that grows C: at the node's first boot.")
    files: tuple[UploadedFile, ...] = Field(default=(), description="Files of this repository, for example NOTICE.")
    minimum_free_gib: float = Field(default=5, ge=0, description="Less free space than this on C: fails the build.")
    e2e_suites: tuple[E2ESuite, ...] = Field(
        default=(E2ESuite.FIRST_BOOT, E2ESuite.NODE_BOOTSTRAP, E2ESuite.PLAIN_BOOTSTRAP), description="Suites for the boot test."
    )
