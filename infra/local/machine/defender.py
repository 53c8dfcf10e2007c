r"""Microsoft Defender Antivirus on a machine: SOFTWARE\Microsoft\Windows Defender and its subkey Signature Updates.

Versions are read from there as Get-MpComputerStatus does: AVSignatureVersion, SignaturesLastUpdated (FILETIME, binary); the platform is the
folder that InstallLocation names. Downloads:
https://learn.microsoft.com/en-us/defender-endpoint/microsoft-defender-antivirus-updates.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from infra.local.machine.disk import MachineDisk
from infra.local.machine.filetime import from_filetime, to_filetime

INFO_URL = "https://go.microsoft.com/fwlink/?linkid=870379&arch=x64&action=info"
DOWNLOAD_URL = "https://go.microsoft.com/fwlink/?linkid=870379&arch=x64"
_DEFENDER = r"HKLM:\SOFTWARE\Microsoft\Windows Defender"
_PLATFORMS = r"C:\ProgramData\Microsoft\Windows Defender\Platform"


@dataclass(frozen=True)
class DefenderState:
    """Versions of platform and signatures, and when these signatures were made."""

    platform: str
    signatures: str
    updated: datetime


def defender_state(disk: MachineDisk) -> DefenderState | None:
    """What is installed, None when there is no Defender."""
    key = disk.key(_DEFENDER)
    signatures = disk.key(rf"{_DEFENDER}\Signature Updates")
    if key is None or signatures is None:
        return None
    folder = str(key.get("InstallLocation", "")).rstrip("\\").rpartition("\\")[2]
    updated = signatures.get("SignaturesLastUpdated")
    if not isinstance(updated, bytes):
        return None
    return DefenderState(re.sub(r"-\d+$", "", folder), str(signatures.get("AVSignatureVersion", "")), from_filetime(updated))


def set_platform(disk: MachineDisk, version: str) -> None:
    """Install a platform: its folder, and the value that names it."""
    disk.write(rf"{_PLATFORMS}\{version}-0\MsMpEng.exe", b"MZ\x90\x00" + version.encode())
    disk.make_key(_DEFENDER).set("InstallLocation", rf"{_PLATFORMS}\{version}-0" + "\\")


def set_signatures(disk: MachineDisk, version: str, made: datetime) -> None:
    """Install signatures that were made at a moment."""
    key = disk.make_key(rf"{_DEFENDER}\Signature Updates")
    key.set("AVSignatureVersion", version)
    key.set("ASSignatureVersion", version)
    key.set("SignaturesLastUpdated", to_filetime(made))
