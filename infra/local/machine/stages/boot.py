"""Stages of the boot test, as images.stages.boot describes them."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import httpx

from images.stages.boot import BootstrapFile, BootstrapFileOutcome, BootstrapInput, BootstrapResult, FirstBootResult, OutboundInput
from images.stages.contract import NoInput, StageResult
from images.stages.link import GUEST_FOLDER
from infra.local.machine.accounts import account_names
from infra.local.machine.inventory import VHD_ID_FILE
from infra.local.machine.remoting import BLOCK_OUTBOUND_RULE, listeners, remove_firewall_rule, set_firewall_rule
from infra.local.machine.scheduled_tasks import task_paths
from infra.local.machine.stage_run import StageFailureError, StageRun
from infra.local.machine.stages.finish import EXPAND_VOLUME_TASK
from infra.local.machine.unpacking import ArchiveError, unpack

BUILD_PREFIX = "winvhd"
"""Accounts and tasks of a build begin with it."""
_ARCHIVES = (".zip", ".tar.gz", ".tgz")


def test_first_boot(run: StageRun, _: NoInput) -> FirstBootResult:
    """State of the installation, and what is still there of the build that made the image; this test's own way in is not counted."""
    disk = run.disk
    leftovers = [f"account {name}" for name in account_names(disk) if name.lower().startswith(BUILD_PREFIX)][1:]
    leftovers += [f"listener {one.transport} {one.port}" for one in listeners(disk)][1:]
    own = {EXPAND_VOLUME_TASK.lower(), rf"\winvhd-{run.context.run_id}".lower()}
    tasks = [path for path in task_paths(disk) if path.lower().startswith(f"\\{BUILD_PREFIX}") and path.lower() not in own]
    leftovers += [f"task {path}" for path in tasks]
    folder = disk.path(GUEST_FOLDER)
    began = run.machine.boot_time.timestamp()
    for file in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if file.is_file() and file.stat().st_mtime < began:
            leftovers.append("\\".join((GUEST_FOLDER, *file.relative_to(folder).parts)))
    vhd_id = disk.path(VHD_ID_FILE)
    return FirstBootResult(
        changed=False,
        image_state=run.machine.image_state,
        leftovers=tuple(leftovers),
        vhd_id=vhd_id.read_text(encoding="utf-8").strip() if vhd_id.exists() else "",
    )


def test_node_bootstrap(run: StageRun, wanted: BootstrapInput) -> BootstrapResult:
    """For each Kubernetes version its files: from the cache by base name, else downloaded; verified and unpacked."""
    cached = _by_name(run.disk.path(wanted.cache_root))
    outcomes = []
    with run.client() as client:
        for version in wanted.versions:
            for file in version.files:
                run.check_stopped()
                folder = rf"{wanted.work_folder.rstrip(chr(92))}\{version.kubernetes_version}"
                outcomes.append(_bring(run, client, cached, file, version.kubernetes_version, folder))
                run.progress(f"{version.kubernetes_version}: {file.name} from {outcomes[-1].source}")
    return BootstrapResult(changed=True, files=tuple(outcomes), downloads=sum(outcome.source == "download" for outcome in outcomes))


def _by_name(root: Path) -> dict[str, Path]:
    """Files below a folder by their base names, lower case; of several with one name the first in order of paths."""
    found: dict[str, Path] = {}
    for file in sorted(root.rglob("*")) if root.is_dir() else ():
        if file.is_file():
            found.setdefault(file.name.lower(), file)
    return found


def _bring(
    run: StageRun, client: httpx.Client, cached: dict[str, Path], file: BootstrapFile, version: str, folder: str
) -> BootstrapFileOutcome:
    started = time.monotonic()
    there = cached.get(file.name.lower())
    content, error, unpacked = b"", "", 0
    try:
        content = there.read_bytes() if there else run.fetch(client, file.url).content
    except StageFailureError as failure:
        error = str(failure)
    source = "missing" if error else ("cache" if there else "download")
    verified = not error and hashlib.sha256(content).hexdigest() == file.sha256
    if not error and not verified:
        error = f"{file.name}: the sha256 is not {file.sha256}"
    if verified and file.name.lower().endswith(_ARCHIVES):
        try:
            for path, member in unpack(file.name, content):
                run.disk.write(rf"{folder}\{path}", member)
                unpacked += 1
        except ArchiveError as failure:
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


def set_outbound_access(run: StageRun, wanted: OutboundInput) -> StageResult:
    """A firewall rule of the guest that refuses outbound traffic, or its removal."""
    with run.machine.lock:
        if wanted.blocked:
            return StageResult(changed=set_firewall_rule(run.disk, BLOCK_OUTBOUND_RULE, action="Block", direction="Out"))
        return StageResult(changed=remove_firewall_rule(run.disk, BLOCK_OUTBOUND_RULE))
