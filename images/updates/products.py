"""What the products of an update feed are in our words: Windows builds, and the .NET Framework inside them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from images.catalogue import WINDOWS_BUILDS

_SERVER = re.compile(r"Windows Server (?P<year>\d{4})(?: for x64-based Systems)?(?: \(Server Core installation\))?", re.IGNORECASE)
_DOTNET = re.compile(r"(?:Microsoft )?\.NET Framework (?P<versions>.+?) on (?P<windows>.+)", re.IGNORECASE)
_VERSION = re.compile(r"\d+(?:\.\d+)+")

INBOX_DOTNET: Mapping[int, str] = MappingProxyType({17763: "4.7.2", 20348: "4.8", 26100: "4.8.1"})
"""The .NET Framework that comes with a Windows build; an update for another version does not apply to a fresh image.

https://learn.microsoft.com/dotnet/framework/install/versions-and-dependencies
"""


def windows_build_of(product: str) -> int | None:
    """The Windows build that a product name stands for, None for what is no Windows Server of ours.

    Both installations of a release get the same KB. Windows Server 2022, 23H2 Edition and the Azure Editions are other products.

    >>> windows_build_of("Windows Server 2022 (Server Core installation)")
    20348
    >>> windows_build_of("Microsoft .NET Framework 3.5 AND 4.8.1 on Windows Server 2025")
    26100
    >>> windows_build_of("Windows Server 2022, 23H2 Edition (Server Core installation)")
    """
    dotnet = _DOTNET.fullmatch(product.strip())
    found = _SERVER.fullmatch(dotnet["windows"].strip() if dotnet else product.strip())
    return WINDOWS_BUILDS.get(found["year"]) if found else None


def is_dotnet(product: str) -> bool:
    """True for a .NET Framework on some Windows."""
    return _DOTNET.fullmatch(product.strip()) is not None


def dotnet_versions(product: str) -> frozenset[str]:
    """The .NET Framework versions that a product name lists; empty when it names none."""
    dotnet = _DOTNET.fullmatch(product.strip())
    return frozenset(_VERSION.findall(dotnet["versions"])) if dotnet else frozenset()


def release_name(windows_build: int) -> str:
    """Windows Server 2022 for 20348; for a build that we do not know, its number."""
    year = next((year for year, build in WINDOWS_BUILDS.items() if build == windows_build), None)
    return f"Windows Server {year}" if year else f"Windows build {windows_build}"
