"""Stages of the boot test, as images.stages.boot describes them."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import httpx

from images.stages.boot import BootstrapFile, BootstrapFileOutcome, BootstrapInput, BootstrapResult, FirstBootResult, OutboundInput
from images.stages.content import SourceFile
from images.stages.contract import NoInput, StageResult
from images.stages.link import GUEST_FOLDER
from infra.local.machine.accounts import account_names
from infra.local.machine.disk import MachineDisk
from infra.local.machine.downloads import download, with_attempts
from infra.local.machine.inventory import VHD_ID_FILE
from infra.local.machine.model import CURRENT_VERSION
from infra.local.machine.remoting import BLOCK_OUTBOUND_RULE, certificates, listeners, remove_firewall_rule, set_firewall_rule
from infra.local.machine.scheduled_tasks import task_paths
from infra.local.machine.stage_run import StageFailureError, StageRun
from infra.local.machine.stages.finish import PLUGINS
from infra.local.machine.unpacking import ArchiveError, unpack

_ATTEMPTS = 2
BUILD_PREFIX = "winvhd"
"""Accounts and tasks of a build begin with it."""
_ARCHIVES = (".zip", ".tar.gz", ".tgz")


def test_first_boot(run: StageRun, _: NoInput) -> FirstBootResult:
    """State of the installation, and what is still there of the build that made the image; this test's own way in is not counted."""
    vhd_id = run.disk.path(VHD_ID_FILE)
    return FirstBootResult(
        changed=False,
        image_state=run.machine.image_state,
        leftovers=(*_remoting_leftovers(run.disk), *_folder_leftovers(run.disk), *_task_leftovers(run)),
        vhd_id=vhd_id.read_text(encoding="utf-8").strip() if vhd_id.exists() else "",
    )


def _remoting_leftovers(disk: MachineDisk) -> Iterator[str]:
    """Accounts, profiles, listeners and certificates; one of each is the way in of whoever asks."""
    accounts = [name for name in account_names(disk) if name.lower().startswith(BUILD_PREFIX)]
    yield from (f"account {name}" for name in accounts[1:])
    users = disk.path(r"C:\Users")
    for folder in sorted(users.iterdir()) if users.is_dir() else ():
        if folder.name.lower().startswith(BUILD_PREFIX) and folder.name not in accounts:
            yield rf"profile C:\Users\{folder.name}"
    https = [listener for listener in listeners(disk) if listener.transport == "HTTPS"]
    if len(https) > 1:
        yield f"listeners {len(https)}"
    used = {listener.thumbprint.upper() for listener in https}
    yield from (f"certificate {thumbprint}" for thumbprint in certificates(disk) if thumbprint not in used)


def _folder_leftovers(disk: MachineDisk) -> Iterator[str]:
    """Files of the build that are older than this installation."""
    installed = disk.make_key(CURRENT_VERSION).get("InstallDate", 0)
    for root in (GUEST_FOLDER, PLUGINS):
        folder = disk.path(root)
        for file in sorted(folder.rglob("*")) if folder.is_dir() else ():
            if file.is_file() and isinstance(installed, int) and file.stat().st_mtime < installed:
                yield "file " + "\\".join((root, *file.relative_to(folder).parts))


def _task_leftovers(run: StageRun) -> Iterator[str]:
    own = rf"\winvhd-{run.context.run_id}".lower()
    for path in task_paths(run.disk):
        if path.lower().startswith(rf"\{BUILD_PREFIX}-") and path.lower() != own:
            yield f"task {path}"


def test_node_bootstrap(run: StageRun, wanted: BootstrapInput) -> BootstrapResult:
    """For each Kubernetes version its files: from the cache by base name and hash, else downloaded; verified and unpacked."""
    work = run.disk.path(wanted.work_folder)
    if work.is_dir():
        shutil.rmtree(work)
    cached = _by_name(run.disk.path(wanted.cache_root))
    outcomes = []
    with run.client() as client:
        for number, version in enumerate(wanted.versions):
            run.progress(f"Kubernetes {version.kubernetes_version}", number, len(wanted.versions))
            for file in version.files:
                run.check_stopped()
                folder = rf"{wanted.work_folder.rstrip(chr(92))}\{version.kubernetes_version}\{file.name}"
                outcomes.append(_bring(run, client, cached, file, version.kubernetes_version, folder))
    return BootstrapResult(changed=True, files=tuple(outcomes), downloads=sum(outcome.source == "download" for outcome in outcomes))


def _by_name(root: Path) -> dict[str, list[Path]]:
    """Files below a folder by their base names, lower case."""
    found: dict[str, list[Path]] = {}
    for file in sorted(root.rglob("*")) if root.is_dir() else ():
        if file.is_file():
            found.setdefault(file.name.lower(), []).append(file)
    return found


def _bring(
    run: StageRun, client: httpx.Client, cached: dict[str, list[Path]], file: BootstrapFile, version: str, folder: str
) -> BootstrapFileOutcome:
    started = time.monotonic()
    source: Literal["cache", "download", "missing"] = "cache"
    error, verified, unpacked = "", False, 0
    try:
        there = _cached(cached, file)
        if there is None:
            source = "missing"
            wanted = SourceFile(url=file.url, path=rf"{folder}\download\{file.name}", sha256=file.sha256, size_bytes=file.size_bytes)
            content, _ = with_attempts(run, _ATTEMPTS, lambda: download(run, client, wanted))
            run.disk.write(wanted.path, content)
            source = "download"
        else:
            content = there
        verified = True
        run.take("guest.bootstrap-file", file.name)
        if file.name.lower().endswith(_ARCHIVES):
            for path, member in unpack(file.name, content):
                run.disk.write(rf"{folder}\unpacked\{path}", member)
                unpacked += 1
    except (StageFailureError, ArchiveError) as failure:
        error = str(failure)
    return BootstrapFileOutcome(
        kubernetes_version=version,
        name=file.name,
        source=source,
        verified=verified,
        unpacked_files=unpacked,
        seconds=round(time.monotonic() - started, 3),
        error=error,
    )


def _cached(cached: dict[str, list[Path]], file: BootstrapFile) -> bytes | None:
    """The bytes of a cached file with this name and hash, None when there is none."""
    for path in cached.get(file.name.lower(), []):
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() == file.sha256:
            return content
    return None


def set_outbound_access(run: StageRun, wanted: OutboundInput) -> StageResult:
    """A firewall rule of the guest that refuses outbound traffic, or its removal."""
    with run.machine.lock:
        if wanted.blocked:
            return StageResult(changed=set_firewall_rule(run.disk, BLOCK_OUTBOUND_RULE, action="Block", direction="Out"))
        return StageResult(changed=remove_firewall_rule(run.disk, BLOCK_OUTBOUND_RULE))
