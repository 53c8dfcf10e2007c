"""What AgentBaker's build scripts do for every Windows image, and its two files do not say.

Sources: the reference release notes of 2022-containerd (20348.5499.260812) for what is on a finished image, and the order and settings of
vhdbuilder/packer/windows in Azure/AgentBaker.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from images.catalogue import OPENSSH_SERVER
from images.definition import ContainerRuntime, OpenSshHardening, Package, SystemSettings, UploadedFile

# Release notes, "Installed Features": what is there beyond a plain Server Core image.
FEATURES: Final = ("Containers", "Hyper-V", "Hyper-V-PowerShell")

# Release notes, "Installed Packages".
CAPABILITIES: Final = (OPENSSH_SERVER,)

# WireServer's port: a dynamic UDP port of this number would be filtered on the way to the host.
EXCLUDED_UDP_PORTS: Final = (65330,)

# No passwords; nothing that CVE-2023-48795 (Terrapin) can cut: neither chacha20-poly1305 nor encrypt-then-MAC. All names are known to
# the OpenSSH 7.7 of Windows Server 2019 and to its successors (OpenSSH release notes; Microsoft Learn: "OpenSSH Server configuration").
OPENSSH: Final = OpenSshHardening(
    ciphers=("aes256-gcm@openssh.com", "aes128-gcm@openssh.com", "aes256-ctr", "aes192-ctr", "aes128-ctr"),
    macs=("hmac-sha2-512", "hmac-sha2-256"),
    kex_algorithms=("curve25519-sha256", "ecdh-sha2-nistp384", "ecdh-sha2-nistp256", "diffie-hellman-group16-sha512"),
)

SYSTEM: Final = SystemSettings(windows_update_off=True, excluded_udp_ports=EXCLUDED_UDP_PORTS, openssh=OPENSSH)

FILES: Final = (UploadedFile(source="NOTICE", destination=r"C:\NOTICE.txt"),)

# The version that runs on a finished image, by the beginning of its SKU: release notes, "ContainerD Info"; of 2025's list the newest.
_RUNTIME_VERSIONS: Final[Mapping[str, str]] = {"2022": "1.6.35-azure.1", "2025": "2.0.4-azure.1"}


def container_runtime(sku: str, packages: tuple[Package, ...]) -> ContainerRuntime | None:
    """The containerd of a SKU, from the same archive that the image caches; None when the list holds none."""
    version = next((version for prefix, version in _RUNTIME_VERSIONS.items() if sku.startswith(prefix)), None)
    archives = [package for package in packages if package.name.startswith("containerd-v")]
    named = [package for package in archives if version is not None and package.name.startswith(f"containerd-v{version}-")]
    if not named:
        # A later list may have dropped the version above: its newest entry is its last.
        named = archives[-1:]
    if not named:
        return None
    found = named[0].name.removeprefix("containerd-v").removesuffix(".tar.gz").removesuffix("-windows-amd64")
    return ContainerRuntime(version=found, url=named[0].url)
