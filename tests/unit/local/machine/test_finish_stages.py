from collections.abc import Callable
from typing import Any

import pytest

from images.inventory import Inventory
from infra.local.contracts import OsProfile
from infra.local.guest.remoting import FIREWALL_RULE
from infra.local.machine import remoting, services, sysprep
from infra.local.machine.accounts import account_names, check_password, set_account
from infra.local.machine.base import GENERALIZED
from infra.local.machine.disk import MachineDisk
from infra.local.machine.scheduled_tasks import register_task, task_paths
from infra.local.origin.bodies import SCALE
from tests.unit.local.machine.conftest import Box

DEFENDER: dict[str, Any] = {"update_platform": True, "update_signatures": True, "max_signature_age_hours": 48}
GENERALIZE: dict[str, Any] = {
    "sysprep_timeout_s": 60,
    "build_account": "winvhd-1",
    "certificate_thumbprint": "AA11",
    "listener_port": 5986,
}


def make_remote_access(box: Box) -> None:
    set_account(box.disk, "winvhd-1", "Secret-2")
    remoting.store_certificate(box.disk, "AA11", b"der", b"pem")
    remoting.set_listener(box.disk, remoting.Listener("HTTPS", 5986, "AA11", "127.0.0.1"))
    remoting.set_firewall_rule(box.disk, FIREWALL_RULE, action="Allow", direction="In", port=5986)
    box.disk.write(r"C:\winvhd\Get-GuestState.ps1", b"#")


def test_defender_gets_the_newest_versions_once(box: Box) -> None:
    first = box.result("Update-Defender.ps1", **DEFENDER)
    assert first["changed"] is True
    assert 0 <= first["signature_age_hours"] < 24
    box.boot()
    second = box.result("Update-Defender.ps1", **DEFENDER)
    assert (second["changed"], second["signature_version"]) == (False, first["signature_version"])


def test_old_signatures_fail(box: Box) -> None:
    assert box.run("Update-Defender.ps1", **(DEFENDER | {"update_signatures": False})).code == "signatures-old"


def test_defender_can_not_be_updated_without_a_network(box: Box) -> None:
    box.machine.outbound_allowed = False
    assert box.run("Update-Defender.ps1", **DEFENDER).code == "network-unreachable"


def test_clean_up_removes_what_builds_leave(box: Box) -> None:
    box.disk.write(r"C:\Packages\Plugins\Microsoft.CPlat.Core.RunCommandHandlerWindows\status.json", b"{}")
    box.disk.write(r"C:\Windows\Temp\a.log", b"x")
    removed = box.result("Clear-BuildLeftover.ps1")["removed"]
    assert removed == [r"C:\Windows\Temp\a.log", r"C:\Packages\Plugins\Microsoft.CPlat.Core.RunCommandHandlerWindows"]
    assert box.result("Clear-BuildLeftover.ps1")["changed"] is False


HANDLER = r"C:\Packages\Plugins\Microsoft.CPlat.Core.RunCommandHandlerWindows\2.0.14"


def test_before_a_checkpoint_the_traces_of_run_command_go_and_its_program_stays(box: Box) -> None:
    other = r"C:\Packages\Plugins\Microsoft.Azure.Monitor\1.0\Status\0.status"
    for file in (r"Status\1.status", r"RuntimeSettings\1.settings", r"Downloads\script1.ps1", "HandlerManifest.json", r"bin\handler.exe"):
        box.disk.write(rf"{HANDLER}\{file}", b"x")
    box.disk.write(other, b"x")
    make_remote_access(box)
    done = box.result("Clear-RunCommandTrace.ps1")
    assert set(done["removed"]) == {
        rf"{HANDLER}\{name}" for name in (r"Status\1.status", r"RuntimeSettings\1.settings", r"Downloads\script1.ps1")
    }
    assert all(box.disk.path(path).exists() for path in (rf"{HANDLER}\HandlerManifest.json", rf"{HANDLER}\bin\handler.exe", other))
    # The VM goes on after its checkpoint, by the way that is open already.
    assert check_password(box.disk, "winvhd-1", "Secret-2")
    assert len(remoting.listeners(box.disk)) == 1
    assert box.result("Clear-RunCommandTrace.ps1")["changed"] is False


def test_before_a_checkpoint_runs_that_nobody_reads_are_forgotten(box: Box) -> None:
    register_task(box.disk, r"\winvhd-lost-1", "powershell.exe", "-File x")
    register_task(box.disk, r"\expand-os-volume", "powershell.exe", "-File x")
    for kind in ("out", "claim", "pid"):
        box.disk.write(rf"C:\winvhd\runs\lost-1.{kind}", b"x")
    box.disk.write(r"C:\winvhd\Get-GuestState.ps1", b"#")
    assert r"\winvhd-lost-1" in box.result("Clear-RunCommandTrace.ps1")["removed"]
    assert task_paths(box.disk) == (r"\expand-os-volume",)
    assert list(box.disk.path(r"C:\winvhd\runs").iterdir()) == []
    assert box.disk.path(r"C:\winvhd\Get-GuestState.ps1").exists()


def test_free_space_counts_cached_files_with_their_real_size(box: Box) -> None:
    before = box.result("Test-FreeSpace.ps1", minimum_free_bytes=0)["free_bytes"]
    box.disk.write(r"C:\akse-cache\a.bin", b"\0" * 1000)
    box.disk.write(r"C:\Windows\b.bin", b"\0" * 1000)
    after = box.result("Test-FreeSpace.ps1", minimum_free_bytes=0)["free_bytes"]
    assert before - after == 1000 * SCALE + 1000
    refused = box.run("Test-FreeSpace.ps1", minimum_free_bytes=after + 1)
    assert refused.code == "free-space"


def test_a_page_file_takes_its_place(box: Box) -> None:
    before = box.machine.free_bytes
    box.result("Set-Pagefile.ps1", size_mib=4096)
    assert before - box.machine.free_bytes == 2 * 1024**3
    box.result("Set-Pagefile.ps1", size_mib=0)
    assert box.machine.free_bytes - before == 2 * 1024**3


def test_the_inventory_lists_what_stages_did(box: Box) -> None:
    box.result("Add-UdpPortExclusion.ps1", ports=[65330])
    box.result("Set-WindowsUpdatePolicy.ps1", no_auto_update=True)
    box.result("Set-VhdIdentity.ps1", vhd_id="5efdb411-d282-42e1-bf30-28afea683e16")
    box.result("Register-ExpandVolumeTask.ps1")
    policy = r"HKLM:\SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate\AU"
    result = box.result("Get-Inventory.ps1", cache_roots=[], tool_roots=[], registry_paths=[policy])
    inventory = Inventory.model_validate(result["inventory"])
    assert inventory.os.product_name == "Windows Server 2022 Datacenter"
    assert inventory.excluded_udp_ports == (65330,)
    assert [(value.name, value.value) for value in inventory.registry] == [("NoAutoUpdate", 1)]
    assert inventory.vhd_id == "5efdb411-d282-42e1-bf30-28afea683e16"
    assert [qfe.kb for qfe in inventory.qfes] == ["KB5120241", "KB5120242", "KB5120705"]
    assert len(inventory.services) > 60
    assert [task.path for task in inventory.scheduled_tasks] == [r"\expand-os-volume"]


def test_generalize_leaves_no_way_in_and_shuts_down(box: Box) -> None:
    make_remote_access(box)
    register_task(box.disk, r"\winvhd-run-1", "powershell.exe", "-File x")
    box.disk.write(r"C:\winvhd\runs\run-1.read", b"")
    outcome = box.run("Invoke-Generalize.ps1", run_id="run-1", **GENERALIZE)
    assert outcome.exit_code == 0
    assert outcome.last["image_state"] == GENERALIZED
    assert outcome.shutdowns == [(False, 0.0)]
    box.disk.save()
    left = MachineDisk.open(box.folder)
    assert account_names(left) == ("azureuser",)
    assert remoting.listeners(left) == ()
    assert remoting.certificates(left) == ()
    assert FIREWALL_RULE not in remoting.firewall_rules(left)
    assert task_paths(left) == ()
    for path in (r"C:\winvhd", r"C:\WindowsAzure", r"C:\Packages", r"C:\Users\winvhd-1", r"C:\Windows\Panther\unattend.xml"):
        assert not left.path(path).exists(), path
    for name in sysprep.AGENT_SERVICES:
        assert services.service_start(left, name) is None
    assert "ended" in left.path(rf"{sysprep.PANTHER}\setupact.log").read_text()


def test_the_last_contact_waits_until_its_result_was_read(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    make_remote_access(box)
    monkeypatch.setattr("infra.local.machine.stages.generalize.READ_WAIT_S", 0.2)
    outcome = box.run("Invoke-Generalize.ps1", run_id="run-2", **GENERALIZE)
    assert outcome.shutdowns == [(False, 0.0)]
    assert not box.disk.path(r"C:\winvhd").exists()


def test_a_stuck_sysprep_fails_with_the_logs_and_keeps_the_way_in(box: Box) -> None:
    make_remote_access(box)
    box.strike("guest.sysprep", "stuck")
    outcome = box.run("Invoke-Generalize.ps1", run_id="run-1", **GENERALIZE)
    assert outcome.code == "sysprep-stuck"
    assert "setupact.log" in outcome.last["message"]
    assert "Sysprep_Generalize_Wuaueng" in outcome.stderr
    assert outcome.shutdowns == []
    assert box.machine.image_state != GENERALIZED
    assert remoting.listeners(box.disk) != ()


def test_sysprep_does_not_run_before_a_restart_that_waits(box: Box) -> None:
    box.result("Install-NodeFeature.ps1", features=["Containers"])
    assert box.run("Invoke-Generalize.ps1", **GENERALIZE).code == "sysprep-stuck"


def test_a_generalized_machine_becomes_a_new_one(box: Box, make_box: Callable[..., Box]) -> None:
    make_remote_access(box)
    box.result("Register-ExpandVolumeTask.ps1")
    box.result("Set-VhdIdentity.ps1", vhd_id="5efdb411-d282-42e1-bf30-28afea683e16")
    box.run("Invoke-Generalize.ps1", **GENERALIZE)
    box.disk.size_gib = 64
    sysprep.specialize(box.disk, OsProfile("node1", "nodeadmin", "Secret-3"), box.machine.boot_time)
    box.boot()
    assert box.machine.computer_name == "node1"
    assert account_names(box.disk) == ("nodeadmin",)
    assert check_password(box.disk, "nodeadmin", "Secret-3")
    assert not check_password(box.disk, "nodeadmin", "Secret-1")
    assert box.machine.total_bytes == 64 * 1024**3
    first = box.result("Test-FirstBoot.ps1")
    assert (first["image_state"], first["leftovers"], first["vhd_id"]) == (
        "IMAGE_STATE_COMPLETE",
        [],
        "5efdb411-d282-42e1-bf30-28afea683e16",
    )


def test_only_a_generalized_disk_is_specialized(box: Box) -> None:
    with pytest.raises(sysprep.SpecializeError):
        sysprep.specialize(box.disk, OsProfile("node1", "nodeadmin", "Secret-3"), box.machine.boot_time)
