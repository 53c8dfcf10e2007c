"""Updates in the model: from files by wusa and DISM, and by KB through the Windows Update agent.

What an update is for, brings and builds on is in its file. 0x800F0838 is CBS_E_MISSING_PREREQUISITE_BASELINES: a checkpoint is missing;
0x800F0922 CBS_E_INSTALLERS_FAILED.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from images.stages.content import SourceFile
from images.stages.system import AgentUpdate, AgentUpdateInput, UpdateFile, UpdateInput, UpdateOutcome, UpdateResult
from infra.local.machine import cbs
from infra.local.machine.downloads import download, with_attempts
from infra.local.machine.stage_run import StageFailureError, StageRun, StageStopped
from infra.local.machine.stages.servicing import ALREADY_INSTALLED, NOT_APPLICABLE, REBOOT_NEEDED, require_update_service
from infra.local.machine.update_history import add_history
from infra.local.origin.bodies import UPDATE_MAGIC
from infra.local.origin.windows_releases import download_url, find_update

MISSING_CHECKPOINT = 0x800F0838 - 2**32
_ATTEMPTS = 3


@dataclass(frozen=True)
class _UpdateAbout:
    """What an update's file says about itself."""

    kb: str
    builds: tuple[int, ...]
    promised_ubr: int | None
    description: str
    title: str
    needs_ubr: int | None


def install_update(run: StageRun, wanted: UpdateInput) -> UpdateResult:
    """Updates in their order, all downloaded first; what they change becomes active with the restart."""
    folder: dict[str, _UpdateAbout] = {}
    with run.client() as client:
        for update in wanted.updates:
            run.check_stopped()
            if not _is_installed(run, update.kb):
                folder[update.kb] = _read(update.kb, update.file_name, _fetch(run, client, update))
    outcomes = []
    for number, update in enumerate(wanted.updates):
        run.check_stopped()
        run.progress(f"installing {update.kb}", number, len(wanted.updates))
        outcomes.append(_install(run, update, folder, wanted.promised_build))
    return _result(run, outcomes)


def install_agent_update(run: StageRun, wanted: AgentUpdateInput) -> UpdateResult:
    """Exactly the KBs named, as far as Windows Update offers them to this Windows."""
    outcomes = []
    with run.client() as client:
        for number, update in enumerate(wanted.updates):
            run.check_stopped()
            run.progress(f"installing {update.kb}", number, len(wanted.updates))
            outcomes.append(_install_offered(run, client, update, wanted.promised_build))
    return _result(run, outcomes)


def _result(run: StageRun, outcomes: list[UpdateOutcome]) -> UpdateResult:
    return UpdateResult(
        changed=any(outcome.outcome == "installed" for outcome in outcomes),
        reboot_required=run.machine.pending_reboot,
        updates=tuple(outcomes),
    )


def _is_installed(run: StageRun, kb: str) -> bool:
    with run.machine.lock:
        return cbs.find_kb(run.disk, kb) in (cbs.INSTALLED, cbs.INSTALL_PENDING)


def _fetch(run: StageRun, client: httpx.Client, update: UpdateFile) -> bytes:
    source = SourceFile(url=update.url, path=update.file_name, sha256=update.sha256, size_bytes=update.size_bytes)
    body, _ = with_attempts(run, _ATTEMPTS, lambda: download(run, client, source))
    run.reserve(len(body))
    return body


def _install(run: StageRun, update: UpdateFile, folder: Mapping[str, _UpdateAbout], promised_build: str | None) -> UpdateOutcome:
    with run.machine.lock:
        require_update_service(run, "wusa.exe" if update.installer == "wusa" else "dism.exe")
    about = folder.get(update.kb)
    if about is None:
        return UpdateOutcome(kb=update.kb, outcome="already-installed", exit_code=ALREADY_INSTALLED)
    if update.checkpoint:
        return UpdateOutcome(kb=update.kb, outcome="with-target", exit_code=0)
    run.take("guest.update", update.kb)
    with run.machine.lock:
        if not _applies(run, about):
            refused = NOT_APPLICABLE[update.installer]
            if _is_reached(run, update.build) or _is_reached(run, promised_build):
                return UpdateOutcome(kb=update.kb, outcome="superseded", exit_code=refused)
            builds = ", ".join(map(str, about.builds))
            reason = f"it does not apply to this Windows, {run.machine.os_build}: it is for {builds}, revision {about.promised_ubr}"
            raise _failed(update.kb, refused, reason)
        if about.needs_ubr is not None and about.needs_ubr > _reached_ubr(run):
            beside = next((each for each in folder.values() if each.promised_ubr == about.needs_ubr), None)
            if beside is None or update.installer != "dism":
                raise _failed(update.kb, MISSING_CHECKPOINT, "a checkpoint update that it builds on is missing")
            _add(run, beside, cbs.update_identity(beside.kb, run.machine.build, None))
    _add_unless_struck(run, about)
    return UpdateOutcome(kb=update.kb, outcome="installed", exit_code=REBOOT_NEEDED)


def _install_offered(run: StageRun, client: httpx.Client, update: AgentUpdate, promised_build: str | None) -> UpdateOutcome:
    if _is_installed(run, update.kb):
        return UpdateOutcome(kb=update.kb, outcome="already-installed", exit_code=ALREADY_INSTALLED)
    with run.machine.lock:
        require_update_service(run, "the Windows Update agent")
    about = _offered(run, client, update.kb)
    if about is None:
        if _is_reached(run, update.build) or _is_reached(run, promised_build):
            return UpdateOutcome(kb=update.kb, outcome="superseded", exit_code=0)
        raise StageFailureError("update-not-offered", f"{update.kb}: Windows Update does not offer it to this Windows")
    run.take("guest.update", update.kb)
    _add_unless_struck(run, about)
    return UpdateOutcome(kb=update.kb, outcome="installed", exit_code=0)


def _offered(run: StageRun, client: httpx.Client, kb: str) -> _UpdateAbout | None:
    """The update that Windows Update has under this KB for this Windows, and that applies; it brings the checkpoints along itself."""
    released = find_update(kb, run.machine.build)
    if released is None:
        return None
    url = download_url(released)
    try:
        body, _ = with_attempts(run, _ATTEMPTS, lambda: run.fetch(client, url).content)
    except StageFailureError as error:
        if error.code == "download-refused":
            # Not released yet, on the day that the stand-in pretends.
            return None
        raise
    run.reserve(len(body))
    about = _read(kb, url.rpartition("/")[2], body)
    with run.machine.lock:
        return about if _applies(run, about) else None


def _applies(run: StageRun, about: _UpdateAbout) -> bool:
    is_newer = about.promised_ubr is None or about.promised_ubr > _reached_ubr(run)
    return run.machine.build in about.builds and is_newer


def _add_unless_struck(run: StageRun, about: _UpdateAbout) -> None:
    """Register the update as waiting for the restart, with whatever bad luck strikes here."""
    fault = run.faults.should("guest.update", f"{about.kb} {run.context.vm_id}")
    code = fault.code.lower() if fault else ""
    if code == "hang":
        run.context.emit_stderr(f"{about.kb}: waiting for a program that does not end\r\n")
        run.context.stop_event.wait()
        raise StageStopped
    if code.startswith("0x"):
        raise _failed(about.kb, int(code, 16) - 2**32, "see C:\\Windows\\Logs\\CBS\\CBS.log")
    identity = cbs.update_identity(about.kb, run.machine.build, about.promised_ubr)
    with run.machine.lock:
        _add(run, about, identity)
        if code == "two-restarts":
            cbs.ask_for_starts(run.disk, identity, 2)
        elif code == "rolled-back":
            cbs.let_fail_at_start(run.disk, identity)


def _add(run: StageRun, about: _UpdateAbout, identity: str) -> None:
    link = run.machine.product.kb_link.format(number=about.kb.removeprefix("KB"))
    cbs.add_update(run.disk, identity, cbs.HotFix(about.kb, about.description, link), cbs.INSTALL_PENDING)
    cbs.set_reboot_pending(run.disk)
    add_history(run.disk, about.title, run.now)


def _failed(kb: str, exit_code: int, reason: str) -> StageFailureError:
    return StageFailureError("update-failed", f"{kb}: exit code {exit_code} (0x{exit_code % 2**32:08X}), {reason}")


def _read(kb: str, file_name: str, body: bytes) -> _UpdateAbout:
    if not body.startswith(UPDATE_MAGIC):
        raise StageFailureError("update-failed", f"{kb}: {file_name} is not an update package (0x80070570)")
    stored = json.loads(body[len(UPDATE_MAGIC) :].split(b"\n", 1)[0])
    return _UpdateAbout(
        kb=stored["kb"],
        builds=tuple(stored["builds"]),
        promised_ubr=stored["promised_ubr"],
        description=stored["description"],
        title=stored["title"],
        needs_ubr=stored.get("needs_ubr"),
    )


def _is_reached(run: StageRun, build: str | None) -> bool:
    """True when Windows is at this build.UBR or beyond; false without one."""
    if build is None:
        return False
    number, _, ubr = build.partition(".")
    return int(number) == run.machine.build and run.machine.ubr >= int(ubr)


def _reached_ubr(run: StageRun) -> int:
    """The revision that this Windows has, or will have after the restart that it waits for."""
    return max(run.machine.ubr, cbs.pending_ubr(run.disk) or 0)
