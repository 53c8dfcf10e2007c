from collections.abc import Callable
from typing import Any

import pytest

from infra.local.machine import openssh, services
from tests.unit.local.machine.conftest import Box

HNS = r"HKLM:\SYSTEM\CurrentControlSet\Services\hns\State"
OPENSSH: dict[str, Any] = {
    "password_authentication": False,
    "permit_empty_passwords": False,
    "ciphers": ["aes256-gcm@openssh.com"],
    "macs": [],
    "kex_algorithms": [],
}


def test_partition_grows_to_the_disk_once(box: Box) -> None:
    assert box.result("Expand-OsPartition.ps1") == {
        "event": "result",
        "changed": True,
        "reboot_required": False,
        "size_bytes": 35 * 1024**3,
    }
    assert box.result("Expand-OsPartition.ps1")["changed"] is False


@pytest.mark.parametrize(
    ("script", "stage_input"),
    [
        ("Set-WindowsUpdatePolicy.ps1", {"no_auto_update": True}),
        ("Add-UdpPortExclusion.ps1", {"ports": [65330, 65331]}),
        ("Set-WinRmStartMode.ps1", {"mode": "delayed-auto"}),
        ("Set-Pagefile.ps1", {"size_mib": 4096}),
        ("Set-TlsProtocol.ps1", {"disabled": ["TLS 1.0"], "enabled": ["TLS 1.3"]}),
        ("Set-RegistrySetting.ps1", {"settings": [{"path": HNS, "name": "HnsNpmRefresh", "value": 1}]}),
        ("Install-WindowsCapability.ps1", {"capabilities": ["OpenSSH.Server~~~~0.0.1.0"]}),
        ("Install-NodeFeature.ps1", {"features": ["Hyper-V-PowerShell"]}),
        ("Register-ExpandVolumeTask.ps1", {}),
        ("Set-VhdIdentity.ps1", {"vhd_id": "5efdb411-d282-42e1-bf30-28afea683e16"}),
        ("Set-TextFile.ps1", {"path": r"C:\NOTICE.txt", "text": "notice\n"}),
        ("Set-OutboundAccess.ps1", {"blocked": True}),
    ],
)
def test_a_second_run_changes_nothing_also_after_a_restart(box: Box, script: str, stage_input: dict[str, object]) -> None:
    assert box.result(script, **stage_input)["changed"] is True
    assert box.result(script, **stage_input)["changed"] is False
    box.boot()
    assert box.result(script, **stage_input)["changed"] is False


def test_registry_flags_are_set_in_what_is_there(box: Box) -> None:
    setting = {"path": HNS, "name": "HNSControlFlag", "value": 0x4, "operation": "or"}
    box.result("Set-RegistrySetting.ps1", settings=[{**setting, "operation": "replace", "value": 0x3}])
    outcome = box.result("Set-RegistrySetting.ps1", settings=[setting])
    assert outcome["changed_values"] == [rf"{HNS}\HNSControlFlag"]
    key = box.disk.key(HNS)
    assert key is not None
    assert key.get("hnscontrolflag") == 0x7
    assert box.disk.hives["SYSTEM"].find(r"ControlSet001\Services\hns\State") is key


def test_tls_protocols_are_switched_for_both_sides_and_wait_for_a_restart(box: Box) -> None:
    assert box.result("Set-TlsProtocol.ps1", disabled=["TLS 1.1"], enabled=[])["reboot_required"] is True
    for side in ("Client", "Server"):
        key = box.disk.key(rf"HKLM:\SYSTEM\CurrentControlSet\Control\SecurityProviders\SCHANNEL\Protocols\TLS 1.1\{side}")
        assert key is not None
        assert (key.get("Enabled"), key.get("DisabledByDefault")) == (0, 1)


def test_openssh_needs_its_capability(box: Box) -> None:
    assert box.run("Set-OpenSshServer.ps1", **OPENSSH).code == "capability-missing"


def test_openssh_settings_stand_before_the_match_block(box: Box) -> None:
    box.result("Install-WindowsCapability.ps1", capabilities=["OpenSSH.Server~~~~0.0.1.0"])
    assert box.result("Set-OpenSshServer.ps1", **OPENSSH)["changed"] is True
    assert box.result("Set-OpenSshServer.ps1", **OPENSSH)["changed"] is False
    lines = box.disk.path(openssh.CONFIG).read_text().splitlines()
    match = lines.index("Match Group administrators")
    for setting in ("PasswordAuthentication no", "PermitEmptyPasswords no", "Ciphers aes256-gcm@openssh.com"):
        assert lines.index(setting) < match
    assert services.service_start(box.disk, "sshd") == services.AUTO


def test_server_2025_has_the_openssh_server_already(make_box: Callable[..., Box]) -> None:
    box = make_box(26100)
    assert box.result("Install-WindowsCapability.ps1", capabilities=["OpenSSH.Server~~~~0.0.1.0"])["installed"] == []
    assert box.result("Set-OpenSshServer.ps1", **OPENSSH)["changed"] is True


def test_restart_answers_with_the_boot_time_that_ends(box: Box) -> None:
    outcome = box.run("Restart-Guest.ps1", elevated=False)
    assert outcome.shutdowns == [(True, 2.0)]
    state = box.result("Get-GuestState.ps1")
    assert state["boot_time"] == outcome.last["boot_time"]
    assert (state["os_build"], state["computer_name"], state["pending_reboot"]) == ("20348.5499", "box", False)


def test_a_wrong_input_is_named(box: Box) -> None:
    assert box.run("Set-Pagefile.ps1", size_mib="much").code == "bad-input"
    assert box.run("Set-Pagefile.ps1", size_mib=1, other=2).code == "bad-input"


def test_a_killed_script_ends_without_a_result(box: Box) -> None:
    outcome = box.run("Expand-OsPartition.ps1", stopped=True)
    assert (outcome.exit_code, outcome.lines) == (1, [])
