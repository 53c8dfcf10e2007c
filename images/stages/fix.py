"""Stages of a private fix: install it, prove after the restart that Windows runs with it, and prove it again on the VM that is tested."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

from pydantic import Field

from images.private_fix import FixKind
from images.stages.contract import StageContract, StageInput, StageResult

FIX_RECORD: Final = r"C:\ProgramData\winvhd\private-fix.json"
"""In a patched image: which files the fix replaced, with their hashes, and which servicing packages it brought. No other image has it."""


class InstallFixInput(StageInput):
    """`url` is a read-only SAS of one blob when the script gets it; the file lies in the guest as fix-<first 12 of sha256>.<kind>."""

    kind: FixKind
    url: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    installer: Literal["wusa", "dism", "none"] = Field(description="What installs a .msu or .cab on this Windows; none for the others.")
    arguments: tuple[str, ...] = Field(description="Arguments of an .exe, one item each.")


class InstallFixResult(StageResult):
    exit_code: int = Field(description="What the installer answered; 0 for a .zip.")
    already_present: bool | None = Field(description="True when Windows held the fix before; None when nobody can tell (an .exe).")
    replaced_files: int = Field(description="Files of a .zip that are put in place by the restart.")


class ConfirmFixInput(StageInput):
    kind: FixKind
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class ConfirmFixResult(StageResult):
    verified_files: int = Field(description="Replaced files that have the hash that the .zip promised.")
    new_packages: int = Field(description="Servicing packages that are installed now and were not before.")
    test_signing: bool = Field(description="True when Windows started with test signing on.")


class FixTestInput(StageInput):
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class FixTestResult(StageResult):
    """Counts alone: what the fix changes is known to nobody outside the guest."""

    recorded: bool = Field(description="True when the image still holds the record of this fix; all counts are 0 otherwise.")
    files: int = Field(description="Files that the fix is to have replaced.")
    files_in_place: int = Field(description="Those of them that have the fix's hash.")
    packages: int = Field(description="Servicing packages that the fix brought.")
    packages_installed: int = Field(description="Those of them that are still installed.")
    test_signing: bool = Field(description="True when Windows started with test signing on.")


INSTALL_FIX = StageContract(
    "install-private-fix",
    "Install-PrivateFix.ps1",
    InstallFixInput,
    InstallFixResult,
    elevated=True,
    timeout_s=3 * 3600,
    title="Private fix",
)
CONFIRM_FIX = StageContract(
    "confirm-private-fix",
    "Confirm-PrivateFix.ps1",
    ConfirmFixInput,
    ConfirmFixResult,
    elevated=True,
    timeout_s=1800,
    title="Private fix, checked",
)

TEST_FIX = StageContract(
    "test-private-fix",
    "Test-PrivateFix.ps1",
    FixTestInput,
    FixTestResult,
    elevated=True,
    timeout_s=1800,
    title="Private fix, tested",
)

_CBS_LOG = "CBS.log among the guest's logs says why; 0x800f0922 is often a lack of space in the system partition"
HINTS: Mapping[str, str] = MappingProxyType(
    {
        "download-refused": "make a new SAS for the blob (read only, some hours) and save it in the PrivateFixSource block",
        "download-failed": "can the build VM's network reach the storage account of the fix?",
        "hash-mismatch": "give the sha256 of the very file behind the URL, or upload the file again",
        "wrong-windows": "ask for the fix for the build of this image",
        "fix-failed": _CBS_LOG,
        "fix-rolled-back": _CBS_LOG,
        "fix-not-in-place": "a file was still protected or in use: deliver the fix as a .msu or .cab",
        "fix-unknown": "run the build again: it starts below the layer of the fix",
        "test-signing-refused": "test-signed files need a VM without Secure Boot; builds use one, so was the base image changed?",
        "bad-fix": "the .zip must mirror C:\\, for example Windows/System32/drivers/x.sys",
        "access-denied": "deliver the fix as a .msu or .cab",
        "disk-full": "raise os_disk_gib in the definition",
    }
)
"""What to do next, by the code with which a stage of this layer fails."""

FIX_STAGES = (INSTALL_FIX, CONFIRM_FIX, TEST_FIX)
