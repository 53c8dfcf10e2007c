"""The scripts as they travel to a guest: one zip, the same bytes for the same scripts, unpacked there by Receive-StagePackage.ps1."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

from images.errors import ConfigurationError
from images.stages.contract import NoInput, StageContract, StageResult

SCRIPTS_FOLDER = Path(__file__).parent / "scripts"
RECEIVER = "Receive-StagePackage.ps1"
FIRST_CONTACT = "Enable-BuildRemoting.ps1"

RECEIVE_PACKAGE = StageContract("receive-stage-package", RECEIVER, NoInput, StageResult, timeout_s=300, title="Scripts")
"""Not a stage of a plan: its input is the zip, and it runs before its file is on the guest."""

MAX_COMMAND_CHARACTERS = 8191
"""Longest line that cmd.exe takes, and a WinRM shell starts everything through it:
https://learn.microsoft.com/troubleshoot/windows-client/shell-experience/command-line-string-limitation"""

_POWERSHELL = ("powershell.exe", "-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass")
_SUFFIXES = (".ps1", ".psm1")
# The zip format counts from 1980; a fixed date keeps the bytes the same.
_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class ScriptPackage:
    """The zip of all scripts, its sha256 in hex, the names in it, and the command that receives it."""

    data: bytes
    sha256: str
    names: tuple[str, ...]
    receive_command: tuple[str, ...]


def build_package(folder: Path = SCRIPTS_FOLDER) -> ScriptPackage:
    """The package of a folder's *.ps1 and *.psm1; raises ConfigurationError when the folder is incomplete."""
    paths = sorted((path for path in folder.iterdir() if path.suffix in _SUFFIXES), key=lambda path: path.name) if folder.is_dir() else []
    receiver = folder / RECEIVER
    if not paths or not receiver.is_file():
        raise ConfigurationError(f"{RECEIVER} is missing", where=str(folder), hint="the checkout is incomplete: git status, git restore")
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in paths:
            entry = zipfile.ZipInfo(path.name, _DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 0
            archive.writestr(entry, path.read_bytes())
    data = stream.getvalue()
    return ScriptPackage(
        data=data,
        sha256=hashlib.sha256(data).hexdigest(),
        names=tuple(path.name for path in paths),
        receive_command=encoded_command(receiver.read_text(encoding="utf-8-sig"), where=str(receiver)),
    )


def guest_scripts(folder: Path = SCRIPTS_FOLDER) -> dict[str, bytes]:
    """The bytes of every script and module by file name: what a layer's fingerprint depends on."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix in _SUFFIXES}


def file_command(script: str, guest_folder: str) -> tuple[str, ...]:
    """The command that runs one of the uploaded scripts."""
    return (*_POWERSHELL, "-File", rf"{guest_folder}\{script}")


def encoded_command(script_text: str, *, where: str) -> tuple[str, ...]:
    """The command that runs a script from its text; raises ConfigurationError when it is too long for one command line."""
    encoded = base64.b64encode(without_comments(script_text).encode("utf-16-le")).decode("ascii")
    # Given a command instead of a file, powershell.exe reads standard input itself, as lines of text for $input; the package's bytes
    # must be left to the script (host/msh/Serialization.cs in PowerShell/PowerShell: DataFormat.None reads nothing).
    command = (*_POWERSHELL, "-InputFormat", "None", "-EncodedCommand", encoded)
    length = len(" ".join(command))
    if length > MAX_COMMAND_CHARACTERS:
        raise ConfigurationError(
            f"the command has {length} characters, cmd.exe takes {MAX_COMMAND_CHARACTERS}", where=where, hint="shorten the script"
        )
    return command


def without_comments(script_text: str) -> str:
    """A script without its comment-based help, comment lines, indentation and empty lines: it has to fit on a command line.

    Only whole lines go, so a `#` in a string stays; scripts sent this way must not hold here-strings.
    """
    kept: list[str] = []
    in_block = False
    for line in script_text.splitlines():
        stripped = line.strip()
        if in_block or stripped.startswith("<#"):
            in_block = "#>" not in stripped
        elif stripped and (not stripped.startswith("#") or stripped.lower().startswith("#requires")):
            kept.append(stripped)
    return "\n".join(kept) + "\n"
