"""The Windows Server releases that the model knows, and what their marketplace images look like.

Names, features and capabilities of 17763 and 20348 are those of the reference release notes (aks-engine 2019-containerd 17763.4252,
AgentBaker 2022-containerd 20348.5499) without what those builds add; 26100 follows
https://learn.microsoft.com/en-us/windows-server/get-started/whats-new-windows-server-2025 (OpenSSH server is there, but not started).
"""

from __future__ import annotations

from dataclasses import dataclass

from images.errors import BuildError


class UnknownProductError(BuildError):
    """The stand-in has no base image of this Windows build."""


@dataclass(frozen=True)
class Product:
    """One release of Windows Server, Core installation."""

    build: int
    name: str
    display_version: str
    lab: str
    """BuildLabEx: build.revision.branch.date of the release's own build."""
    net_framework: str
    """Version of the .NET Framework in the features' names."""
    defender_feature: str
    """Display name of the feature Windows-Defender."""
    capabilities: tuple[str, ...]
    kb_link: str
    """Form of the support link that Get-HotFix shows."""
    base_used_gib: float
    """What a fresh Core smalldisk image takes on C:, page file included, in GiB; the model's figure, not a measured one."""


_LANGUAGE = ("Language.Basic~~~en-US~0.0.1.0", "Language.Speech~~~en-US~0.0.1.0", "Language.TextToSpeech~~~en-US~0.0.1.0")
_HELP = "https://support.microsoft.com/kb/{number}"

PRODUCTS = {
    17763: Product(
        build=17763,
        name="Windows Server 2019 Datacenter",
        display_version="1809",
        lab="17763.1.amd64fre.rs5_release.180914-1434",
        net_framework="4.7",
        defender_feature="Windows Defender Antivirus",
        capabilities=(
            *_LANGUAGE,
            "Language.Handwriting~~~en-US~0.0.1.0",
            "Language.OCR~~~en-US~0.0.1.0",
            "MathRecognizer~~~~0.0.1.0",
            "OpenSSH.Client~~~~0.0.1.0",
        ),
        kb_link="http://support.microsoft.com/?kbid={number}",
        base_used_gib=12.0,
    ),
    20348: Product(
        build=20348,
        name="Windows Server 2022 Datacenter",
        display_version="21H2",
        lab="20348.1.amd64fre.fe_release.210507-1500",
        net_framework="4.8",
        defender_feature="Microsoft Defender Antivirus",
        capabilities=(
            *_LANGUAGE,
            "DirectX.Configuration.Database~~~~0.0.1.0",
            "Downlevel.NLS.Sorting.Versions.Server~~~~0.0.1.0",
            "Microsoft.Windows.MSPaint~~~~0.0.1.0",
            "Microsoft.Windows.Notepad~~~~0.0.1.0",
            "Microsoft.Windows.WordPad~~~~0.0.1.0",
            "OpenSSH.Client~~~~0.0.1.0",
        ),
        kb_link=_HELP,
        base_used_gib=12.0,
    ),
    26100: Product(
        build=26100,
        name="Windows Server 2025 Datacenter",
        display_version="24H2",
        lab="26100.1.amd64fre.ge_release.240331-1435",
        net_framework="4.8",
        defender_feature="Microsoft Defender Antivirus",
        capabilities=(
            *_LANGUAGE,
            "DirectX.Configuration.Database~~~~0.0.1.0",
            "Downlevel.NLS.Sorting.Versions.Server~~~~0.0.1.0",
            "OpenSSH.Client~~~~0.0.1.0",
            "OpenSSH.Server~~~~0.0.1.0",
        ),
        kb_link=_HELP,
        base_used_gib=14.0,
    ),
}

KNOWN_CAPABILITIES = frozenset(
    {name for product in PRODUCTS.values() for name in product.capabilities}
    | {"OpenSSH.Server~~~~0.0.1.0", "ServerCore.AppCompatibility~~~~0.0.1.0", "Rsat.ServerManager.Tools~~~~0.0.1.0"}
)
"""Capabilities that the Windows Update agent finds."""


def product_of(build: int) -> Product:
    """The release with this build number; UnknownProductError when the stand-in has none."""
    if build not in PRODUCTS:
        known = ", ".join(f"{product.build} ({product.name})" for product in PRODUCTS.values())
        raise UnknownProductError(f"the stand-in cloud has no Windows build {build}", hint=f"it has {known}")
    return PRODUCTS[build]
