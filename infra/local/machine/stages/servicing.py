"""Stages that go through Windows' servicing: updates, capabilities, features.

Exit codes: wusa, https://support.microsoft.com/kb/934307 and design, section 9 (0, 3010, 2359302); 0x80240017 is WU_E_NOT_APPLICABLE,
0x800F081E CBS_E_NOT_APPLICABLE, 1058 ERROR_SERVICE_DISABLED.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import httpx

from images.stages.content import SourceFile
from images.stages.system import (
    CapabilityInput,
    CapabilityResult,
    FeatureInput,
    FeatureResult,
    UpdateFile,
    UpdateInput,
    UpdateOutcome,
    UpdateResult,
)
from infra.local.machine import cbs, features, services
from infra.local.machine.downloads import download, with_attempts
from infra.local.machine.openssh import add_openssh
from infra.local.machine.products import KNOWN_CAPABILITIES
from infra.local.machine.remoting import set_firewall_rule
from infra.local.machine.stage_run import StageFailureError, StageRun
from infra.local.machine.update_history import add_history
from infra.local.origin.bodies import UPDATE_MAGIC

REBOOT_NEEDED, ALREADY_INSTALLED = 3010, 2359302
SERVICE_DISABLED = 1058
NOT_APPLICABLE = {"wusa": 0x80240017 - 2**32, "dism": 0x800F081E - 2**32}
"""As .NET shows exit codes: signed."""
_ATTEMPTS = 3


@dataclass(frozen=True)
class _UpdateAbout:
    """What an update's file says about itself."""

    kb: str
    builds: tuple[int, ...]
    promised_ubr: int | None
    description: str
    title: str


def install_update(run: StageRun, wanted: UpdateInput) -> UpdateResult:
    """Updates in their order; what they change becomes active with the restart."""
    outcomes = []
    with run.client() as client:
        for number, update in enumerate(wanted.updates):
            run.check_stopped()
            run.progress(f"{update.kb}", number, len(wanted.updates))
            outcomes.append(_install(run, client, update, wanted.promised_build))
    return UpdateResult(
        changed=any(outcome.outcome == "installed" for outcome in outcomes),
        reboot_required=run.machine.pending_reboot,
        updates=tuple(outcomes),
    )


def _install(run: StageRun, client: httpx.Client, update: UpdateFile, promised_build: str | None) -> UpdateOutcome:
    with run.machine.lock:
        _require_update_service(run, "wusa.exe" if update.installer == "wusa" else "dism.exe")
        if cbs.find_kb(run.disk, update.kb) in (cbs.INSTALLED, cbs.INSTALL_PENDING):
            return UpdateOutcome(kb=update.kb, outcome="already-installed", exit_code=ALREADY_INSTALLED)
    source = SourceFile(url=update.url, path=update.file_name, sha256=update.sha256, size_bytes=update.size_bytes)
    body, _ = with_attempts(run, _ATTEMPTS, lambda: download(run, client, source))
    run.reserve(len(body))
    run.take("guest.update", update.kb)
    about = _read(update, body)
    with run.machine.lock:
        if run.machine.build not in about.builds or (about.promised_ubr is not None and about.promised_ubr <= _reached_ubr(run)):
            return _not_applicable(run, update, about, promised_build)
        link = run.machine.product.kb_link.format(number=about.kb.removeprefix("KB"))
        identity = cbs.update_identity(about.kb, run.machine.build, about.promised_ubr)
        cbs.add_update(run.disk, identity, cbs.HotFix(about.kb, about.description, link), cbs.INSTALL_PENDING)
        cbs.set_reboot_pending(run.disk)
        add_history(run.disk, about.title, run.now)
    return UpdateOutcome(kb=update.kb, outcome="installed", exit_code=REBOOT_NEEDED)


def _not_applicable(run: StageRun, update: UpdateFile, about: _UpdateAbout, promised_build: str | None) -> UpdateOutcome:
    """Superseded when Windows is at the promised build or beyond already; otherwise it is the wrong file, and the stage fails."""
    refused = NOT_APPLICABLE[update.installer]
    if promised_build is not None:
        build, _, ubr = promised_build.partition(".")
        if int(build) == run.machine.build and run.machine.ubr >= int(ubr):
            return UpdateOutcome(kb=update.kb, outcome="superseded", exit_code=refused)
    builds = ", ".join(map(str, about.builds))
    reason = f"it does not apply to this Windows, {run.machine.os_build}: it is for {builds}, revision {about.promised_ubr}"
    raise StageFailureError("update-failed", f"{update.kb}: exit code {refused} (0x{refused % 2**32:08X}), {reason}")


def _read(update: UpdateFile, body: bytes) -> _UpdateAbout:
    if not body.startswith(UPDATE_MAGIC):
        raise StageFailureError("update-failed", f"{update.kb}: {update.file_name} is not an update package (0x80070570)")
    stored = json.loads(body[len(UPDATE_MAGIC) :].split(b"\n", 1)[0])
    return _UpdateAbout(
        kb=stored["kb"],
        builds=tuple(stored["builds"]),
        promised_ubr=stored["promised_ubr"],
        description=stored["description"],
        title=stored["title"],
    )


def _reached_ubr(run: StageRun) -> int:
    """The revision that this Windows has, or will have after the restart that it waits for."""
    return max(run.machine.ubr, cbs.pending_ubr(run.disk) or 0)


def _require_update_service(run: StageRun, tool: str) -> None:
    if services.service_start(run.disk, "wuauserv") == services.DISABLED:
        raise StageFailureError("update-failed", f"{tool} ended with exit code {SERVICE_DISABLED}: the service wuauserv is disabled")


def install_capability(run: StageRun, wanted: CapabilityInput) -> CapabilityResult:
    """Capabilities by their full names, fetched by the Windows Update agent."""
    unknown = [name for name in wanted.capabilities if name not in KNOWN_CAPABILITIES]
    if unknown:
        raise StageFailureError("unknown-capability", f"Windows Update knows no capability {', '.join(unknown)}")
    installed = []
    for name in sorted(set(wanted.capabilities) - set(cbs.capabilities(run.disk))):
        run.take("guest.capability", name)
    with run.machine.lock:
        there = cbs.capabilities(run.disk)
        for name in wanted.capabilities:
            if name in there:
                continue
            _require_update_service(run, "Add-WindowsCapability")
            if not run.machine.reaches_outside:
                raise StageFailureError("network-unreachable", f"{name}: Windows Update can not be reached (0x8024402C)")
            cbs.add_capability(run.disk, name, run.machine.build)
            if name.startswith("OpenSSH.Server"):
                _add_openssh(run)
            installed.append(name)
    return CapabilityResult(changed=bool(installed), installed=tuple(installed))


def _add_openssh(run: StageRun) -> None:
    add_openssh(run.disk)
    set_firewall_rule(run.disk, "OpenSSH-Server-In-TCP", action="Allow", direction="In", port=22)


def install_feature(run: StageRun, wanted: FeatureInput) -> FeatureResult:
    """Server features with what they depend on; all names are checked before anything is installed."""
    catalogue = run.machine.catalogue
    unknown = [name for name in wanted.features if catalogue.find(name) is None]
    if unknown:
        raise StageFailureError(
            "unknown-feature",
            f"{run.machine.product.name} has no feature {', '.join(unknown)}: the target of the specified cmdlet is not valid",
        )
    installed = []
    reboot = False
    with run.machine.lock:
        for name in wanted.features:
            feature = catalogue.find(name)
            for needed in catalogue.with_dependencies(feature) if feature else ():
                state = features.feature_state(run.disk, needed.name)
                reboot = reboot or state == features.INSTALL_PENDING
                if state != features.AVAILABLE:
                    continue
                pending = needed.needs_reboot
                reboot = reboot or pending
                features.set_feature_state(run.disk, needed, features.INSTALL_PENDING if pending else features.INSTALLED)
                installed.append(needed.name)
        if reboot:
            cbs.set_reboot_pending(run.disk)
    return FeatureResult(changed=bool(installed), reboot_required=reboot, installed=tuple(installed))
