"""Where this checkout and its working folders are."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from images.errors import ConfigurationError
from images.notes.facts import BuildSource

ROOT = Path(__file__).resolve().parent.parent
"""Top of the checkout."""

SCRIPTS = ROOT / "infra" / "guest" / "scripts"
"""The PowerShell that runs in the guest."""


def state_folder() -> Path:
    """Folder for everything that outlives a command: the stand-in's state, Prefect's database (WINVHD_STATE, default .winvhd)."""
    return Path(os.environ.get("WINVHD_STATE") or ROOT / ".winvhd").resolve()


def output_folder() -> Path:
    """Folder for builds' results (WINVHD_OUT, default out)."""
    return Path(os.environ.get("WINVHD_OUT") or ROOT / "out").resolve()


def make_folder(folder: Path) -> Path:
    """The folder, made when absent; raises ConfigurationError when it can not be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigurationError(
            f"can not write to {folder}: {error.strerror}",
            hint="give yourself write permission, or name another folder with WINVHD_OUT or WINVHD_STATE",
        ) from error
    return folder


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, timeout=10, check=False)  # noqa: S607
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def build_source() -> BuildSource:
    """Repository, branch and commit of this checkout; empty where git does not tell. Credentials in a remote's URL are dropped."""
    remote = _git("remote", "get-url", "origin")
    scheme, separator, rest = remote.partition("://")
    host, slash, path = rest.partition("/")
    repository = f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}" if separator else remote
    return BuildSource(repository=repository, branch=_git("rev-parse", "--abbrev-ref", "HEAD"), commit=_git("rev-parse", "HEAD"))
