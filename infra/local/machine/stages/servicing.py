"""Stages that go through Windows' servicing: capabilities and features; and the exit codes of its tools.

Exit codes: wusa, https://support.microsoft.com/kb/934307 and design, section 9 (0, 3010, 2359302); 0x80240017 is WU_E_NOT_APPLICABLE,
0x800F081E CBS_E_NOT_APPLICABLE, 0x800F0806 CBS_E_PENDING, 1058 ERROR_SERVICE_DISABLED.
"""

from __future__ import annotations

from images.stages.contract import NoInput
from images.stages.system import CapabilityInput, CapabilityResult, ComponentStoreResult, FeatureInput, FeatureResult
from infra.local.machine import cbs, features, services
from infra.local.machine.openssh import add_openssh
from infra.local.machine.products import KNOWN_CAPABILITIES
from infra.local.machine.remoting import set_firewall_rule
from infra.local.machine.stage_run import StageFailureError, StageRun

REBOOT_NEEDED, ALREADY_INSTALLED = 3010, 2359302
SERVICE_DISABLED = 1058
PENDING = 0x800F0806 - 2**32
NOT_APPLICABLE = {"wusa": 0x80240017 - 2**32, "dism": 0x800F081E - 2**32}
"""As .NET shows exit codes: signed."""


def require_update_service(run: StageRun, tool: str) -> None:
    """StageFailureError while wuauserv is disabled."""
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
            require_update_service(run, "Add-WindowsCapability")
            if not run.machine.reaches_outside:
                raise StageFailureError("network-unreachable", f"{name}: Windows Update can not be reached (0x8024402C)")
            cbs.add_capability(run.disk, name, run.machine.build)
            if name.startswith("OpenSSH.Server"):
                _add_openssh(run)
            installed.append(name)
    return CapabilityResult(changed=bool(installed), installed=tuple(installed))


def clear_component_store(run: StageRun, _: NoInput) -> ComponentStoreResult:
    """Superseded packages removed; refused while an operation waits for a restart, as DISM does (CBS_E_PENDING)."""
    with run.machine.lock:
        if cbs.is_reboot_pending(run.disk):
            raise StageFailureError("command-failed", f"dism.exe ended with exit code {PENDING}: an operation waits for a restart")
        removed = cbs.remove_superseded(run.disk)
    return ComponentStoreResult(changed=bool(removed), free_bytes=run.machine.free_bytes)


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
