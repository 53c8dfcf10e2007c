"""Which cloud a build runs on: the stand-in on this machine, or Azure."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import httpx
import yaml
from pydantic import ValidationError

from images.errors import ConfigurationError
from infra.azure.profile import CloudProfile
from infra.background import BackgroundProcess, process_alive, start_process, wait_until_ready
from infra.checkout import ROOT, make_folder, state_folder


def stand_in_folder() -> Path:
    """Folder of the stand-in's state."""
    return state_folder() / "local"


def running_stand_in() -> tuple[int, CloudProfile] | None:
    """(pid, profile) of the stand-in that serves this state folder, or None."""
    try:
        described = json.loads((stand_in_folder() / "standin.json").read_text(encoding="utf-8"))
        pid = int(described["pid"])
        if not process_alive(pid):
            return None
        return pid, CloudProfile.model_validate(described["profile"])
    except (OSError, ValueError, KeyError):
        return None


def start_stand_in(*, with_parent: bool, options: tuple[str, ...] = ()) -> BackgroundProcess:
    """Start the stand-in cloud on this state folder and wait until it serves."""
    folder = make_folder(stand_in_folder())
    (folder / "standin.json").unlink(missing_ok=True)
    command = [sys.executable, "-m", "infra.local", "serve", "--state", str(folder), *options]
    process = start_process(
        "the stand-in cloud", command, log=folder / "standin.log", environment={"MALLOC_ARENA_MAX": "2"}, with_parent=with_parent, cwd=ROOT
    )
    wait_until_ready(process, lambda: running_stand_in() is not None, timeout_s=60)
    return process


def wait_for_deletions(timeout_s: float = 60.0) -> None:
    """Return once the running stand-in deletes no resource group any more, or after timeout_s; at once when none runs.

    A build only begins the deletion, which Azure then does by itself; a stand-in that is about to end would not.
    """
    running = running_stand_in()
    ends_at = time.monotonic() + timeout_s
    while running is not None and time.monotonic() < ends_at:
        try:
            status = httpx.get(f"{running[1].arm_endpoint}/_standin/status", timeout=10).raise_for_status().json()
        except (httpx.HTTPError, ValueError):
            return
        if not any(operation["name"] == "resourceGroup.delete" for operation in status["operations"]):
            return
        time.sleep(running[1].poll_interval_s)


def azure_profile_file() -> Path:
    """The file that describes the Azure profile (WINVHD_AZURE_PROFILE, default azure-profile.yaml in the checkout)."""
    return Path(os.environ.get("WINVHD_AZURE_PROFILE") or ROOT / "azure-profile.yaml")


def load_profile(name: str) -> CloudProfile:
    """The profile called `local` or `azure`; raises ConfigurationError when its cloud is not there or not described."""
    if name == "local":
        running = running_stand_in()
        if running is None:
            raise ConfigurationError("the stand-in cloud is not running", hint="start it with: .venv/bin/winvhd local up")
        return running[1]
    path = azure_profile_file()
    try:
        return CloudProfile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"no Azure profile at {path}", hint="copy docs/azure-profile.example.yaml to azure-profile.yaml and fill it in"
        ) from error
    except OSError as error:
        raise ConfigurationError(
            f"{path} can not be read: {error.strerror or error}", hint="WINVHD_AZURE_PROFILE must name a file that this user may read"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} is not UTF-8 text", hint="save the file with the encoding UTF-8") from error
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path} is not YAML: {error}", hint="see docs/azure-profile.example.yaml") from error
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors(include_input=False, include_url=False)
        )
        raise ConfigurationError(f"{path}: {problems}", hint="see docs/azure-profile.example.yaml") from None
