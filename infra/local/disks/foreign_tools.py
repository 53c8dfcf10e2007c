"""Runs the programs that make NTFS volumes: mkntfs (ntfs-3g) and wimcapture, wimapply (wimlib)."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from images.errors import CaptureError, MissingToolError

TOOL_PACKAGES = {"mkntfs": "ntfs-3g", "wimcapture": "wimtools", "wimapply": "wimtools"}
_TIMEOUT_S = 600


def find_tool(name: str) -> str:
    """Full path of a program; MissingToolError with the command that installs it when there is none."""
    # mkntfs lies in /usr/sbin, which is not in every user's PATH.
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin", "/usr/local/sbin"]))
    if found is None:
        raise MissingToolError(
            f"{name} is not installed: it is needed to make NTFS volumes",
            hint=f"Debian, Ubuntu: apt-get install {TOOL_PACKAGES[name]}; Fedora: dnf install ntfsprogs wimlib-utils; macOS: see README",
        )
    return found


def require_tools() -> None:
    """Raise MissingToolError unless every program is there: better before a build than at the end of one."""
    for name in TOOL_PACKAGES:
        find_tool(name)


def run_tool(name: str, *arguments: str | Path) -> None:
    """Run a program to its end; CaptureError with the end of its output when it fails."""
    try:
        outcome = subprocess.run(
            [find_tool(name), *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_S,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CaptureError(f"{name} did not end within {_TIMEOUT_S} s", hint="is this machine overloaded, or its disk full?") from error
    if outcome.returncode:
        tail = (outcome.stderr or outcome.stdout).decode(errors="replace").strip()[-600:]
        raise CaptureError(f"{name} failed with exit code {outcome.returncode}: {tail}", hint="is there enough free space?")
