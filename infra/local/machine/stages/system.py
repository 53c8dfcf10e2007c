"""Stages that change Windows itself, as images.stages.system describes them."""

from __future__ import annotations

from images.definition import RegistryOperation, RegistryType, TlsProtocol
from images.stages.contract import NoInput, StageResult
from images.stages.system import (
    ExpandOsPartitionResult,
    GuestStateResult,
    OpenSshInput,
    PagefileInput,
    RegistryInput,
    RegistryResult,
    RestartResult,
    TlsProtocolInput,
    UdpPortExclusionInput,
    WindowsUpdatePolicyInput,
    WinRmStartModeInput,
)
from infra.local.machine import openssh, services
from infra.local.machine.filetime import iso
from infra.local.machine.free_space import pagefile_setting
from infra.local.machine.remoting import set_firewall_rule
from infra.local.machine.stage_run import StageFailureError, StageRun
from infra.local.machine.udp_exclusions import exclude_udp_port

_AU_POLICY = r"HKLM:\SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate\AU"
_SCHANNEL = r"HKLM:\SYSTEM\CurrentControlSet\Control\SecurityProviders\SCHANNEL\Protocols"
RESTART_DELAY_S = 2.0
_REGISTRY_KINDS = {
    RegistryType.DWORD: "REG_DWORD",
    RegistryType.QWORD: "REG_QWORD",
    RegistryType.STRING: "REG_SZ",
    RegistryType.EXPAND_STRING: "REG_EXPAND_SZ",
    RegistryType.MULTI_STRING: "REG_MULTI_SZ",
}


def expand_os_partition(run: StageRun, _: NoInput) -> ExpandOsPartitionResult:
    """C: grows to the disk's size."""
    with run.machine.lock:
        changed = run.disk.partition_gib < run.disk.size_gib
        run.disk.partition_gib = run.disk.size_gib
    return ExpandOsPartitionResult(changed=changed, size_bytes=run.machine.total_bytes)


def set_windows_update_policy(run: StageRun, wanted: WindowsUpdatePolicyInput) -> StageResult:
    """The policy AU\\NoAutoUpdate; the service stays enabled."""
    return StageResult(changed=_set_value(run, _AU_POLICY, "NoAutoUpdate", int(wanted.no_auto_update), "REG_DWORD"))


def add_udp_port_exclusion(run: StageRun, wanted: UdpPortExclusionInput) -> StageResult:
    """Ports that UDP sockets never get by chance."""
    with run.machine.lock:
        changed = [exclude_udp_port(run.disk, port) for port in wanted.ports]
    return StageResult(changed=any(changed))


def set_openssh_server(run: StageRun, wanted: OpenSshInput) -> StageResult:
    """sshd started automatically with a hardened sshd_config; fails without the capability."""
    if services.service_start(run.disk, "sshd") is None:
        raise StageFailureError("capability-missing", "the service sshd is not there: the capability OpenSSH.Server is not installed")
    settings = [
        ("PermitEmptyPasswords", "yes" if wanted.permit_empty_passwords else "no"),
        ("PasswordAuthentication", "yes" if wanted.password_authentication else "no"),
    ]
    lists = (("Ciphers", wanted.ciphers), ("MACs", wanted.macs), ("KexAlgorithms", wanted.kex_algorithms))
    settings += [(keyword, ",".join(values)) for keyword, values in lists if values]
    with run.machine.lock:
        changed = services.set_service(run.disk, "sshd", services.AUTO)
        openssh.start_openssh(run.disk)
        before = run.disk.path(openssh.CONFIG).read_bytes()
        lines = before.decode().splitlines()
        for keyword, value in settings:
            if f"{keyword} {value}" not in lines:
                lines = openssh.set_keyword(lines, keyword, value)
        after = ("\r\n".join(lines) + "\r\n").encode()
        if after != before:
            run.disk.write(openssh.CONFIG, after)
        changed = set_firewall_rule(run.disk, "OpenSSH-Server-In-TCP", action="Allow", direction="In", port=22) or changed
    return StageResult(changed=changed or after != before)


def set_winrm_start_mode(run: StageRun, wanted: WinRmStartModeInput) -> StageResult:
    """WinRM starts with Windows, or delayed."""
    with run.machine.lock:
        changed = services.set_service(run.disk, "WinRM", services.AUTO, delayed=wanted.mode == "delayed-auto")
    return StageResult(changed=changed)


def restart_guest(run: StageRun, _: NoInput) -> RestartResult:
    """Windows restarts shortly after the answer."""
    run.context.shutdown(True, RESTART_DELAY_S)
    return RestartResult(changed=True, boot_time=iso(run.machine.boot_time))


def get_guest_state(run: StageRun, _: NoInput) -> GuestStateResult:
    """What a client asks after each boot, until its services have come up."""
    machine = run.machine
    return GuestStateResult(
        changed=False,
        boot_time=iso(machine.boot_time),
        computer_name=machine.computer_name,
        os_build=machine.os_build,
        pending_reboot=machine.pending_reboot,
        free_bytes=machine.free_bytes,
        services_stable=machine.services_stable,
    )


def set_registry_setting(run: StageRun, wanted: RegistryInput) -> RegistryResult:
    """Values replaced, or their bits set in what is there."""
    changed = []
    for setting in wanted.settings:
        value = setting.value
        if setting.operation is RegistryOperation.OR and isinstance(value, int):
            key = run.disk.key(setting.path)
            there = key.get(setting.name) if key else None
            value |= there if isinstance(there, int) else 0
        if _set_value(run, setting.path, setting.name, value, _REGISTRY_KINDS[setting.type]):
            changed.append(f"{setting.path}\\{setting.name}")
    return RegistryResult(changed=bool(changed), changed_values=tuple(changed))


def set_pagefile(run: StageRun, wanted: PagefileInput) -> StageResult:
    """A page file of fixed size, or none."""
    with run.machine.lock:
        changed = pagefile_setting(run.disk, wanted.size_mib)
    return StageResult(changed=changed, reboot_required=changed)


def set_tls_protocol(run: StageRun, wanted: TlsProtocolInput) -> StageResult:
    """SChannel protocols on or off, for clients and servers; SChannel reads them when Windows starts."""
    changed = False
    states: list[tuple[TlsProtocol, int]] = [(name, 0) for name in wanted.disabled] + [(name, 1) for name in wanted.enabled]
    for protocol, enabled in states:
        for side in ("Client", "Server"):
            path = rf"{_SCHANNEL}\{protocol.value}\{side}"
            changed = _set_value(run, path, "Enabled", enabled, "REG_DWORD") or changed
            changed = _set_value(run, path, "DisabledByDefault", 1 - enabled, "REG_DWORD") or changed
    return StageResult(changed=changed, reboot_required=changed)


def _set_value(run: StageRun, path: str, name: str, data: int | str | list[str], kind: str) -> bool:
    with run.machine.lock:
        key = run.disk.make_key(path)
        before = key.values.get(name.lower())
        if before is not None and before[1:] == (kind, data):
            return False
        key.set(name, data, kind)
        return True
