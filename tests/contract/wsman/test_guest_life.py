"""What survives what: shells, tasks, WinRM, restarts, power off; and what the gate lets through."""

from __future__ import annotations

import base64
import json
import threading
import time
from typing import Any

import pytest
from winrm.exceptions import WinRMError
from winrm.protocol import Protocol

from images.stages.link import READ_OUTPUT, REMOVE_TASK, START_TASK
from images.stages.system import RESTART_GUEST
from infra.local.contracts import MachineSpec, OsProfile
from infra.local.guest.host import UnknownMachineError
from infra.local.guest.remoting import FIREWALL_RULE, listener_to_open, remove_remoting
from infra.local.machine.accounts import account_names
from infra.local.machine.disk import MachineDisk
from infra.local.machine.remoting import certificates, firewall_rules, listeners
from infra.local.machine.scheduled_tasks import task_paths
from infra.local.machine.services import AUTO, remove_service, set_service
from tests.contract.wsman.conftest import ACCOUNT, VM_ID, Guest, answers, rule, wait_for

LINK_SCRIPTS = ("Invoke-StageTask.ps1", START_TASK.script, READ_OUTPUT.script, REMOVE_TASK.script, RESTART_GUEST.script)


def result(output: tuple[bytes, bytes, int]) -> dict[str, Any]:
    out, err, code = output
    assert code == 0, (out, err)
    last = json.loads(out.splitlines()[-1])
    assert last.pop("event") == "result"
    return dict(last)


def start_task(guest: Guest, client: Protocol, script: str, stage_input: dict[str, Any], run_id: str = "run-1") -> dict[str, Any]:
    asked = {"run_id": run_id, "script": script, "input": stage_input, "timeout_s": 60}
    return result(guest.run(client, START_TASK.script, asked))


def read_task(guest: Guest, client: Protocol, offset: int = 0, wait_s: float = 0.0, run_id: str = "run-1") -> dict[str, Any]:
    return result(guest.run(client, READ_OUTPUT.script, {"run_id": run_id, "offset": offset, "wait_s": wait_s, "max_bytes": 200_000}))


@pytest.fixture
def linked(guest: Guest) -> Guest:
    for name in (*LINK_SCRIPTS, "Test-Wait.ps1", "Test-Echo.ps1", "Test-Shutdown.ps1"):
        guest.put(name)
    return guest


def test_task_is_elevated_survives_its_shell_and_winrm_and_runs_once(linked: Guest) -> None:
    client = linked.client()
    assert start_task(linked, client, "Test-Wait.ps1", {"seconds": 1}) == {
        "changed": True,
        "reboot_required": False,
        "task_name": "winvhd-run-1",
        "started": True,
    }
    assert start_task(linked, client, "Test-Wait.ps1", {"seconds": 1})["started"] is False
    assert linked.engine.contexts[0].elevated
    assert linked.engine.contexts[0].run_id == "run-1"
    assert r"\winvhd-run-1" in task_paths(MachineDisk.open(linked.disk_folder))
    first = read_task(linked, client)
    assert first["state"] == "running"
    assert b"waiting" in base64.b64decode(first["data"])
    linked.host.restart_winrm(VM_ID)
    client = linked.client()
    offset = first["next_offset"]
    read = read_task(linked, client, offset, wait_s=5)
    while read["state"] == "running":
        offset = read["next_offset"]
        read = read_task(linked, client, offset, wait_s=5)
    assert (read["state"], read["exit_code"]) == ("ended", 0)
    whole = base64.b64decode(read_task(linked, client)["data"]).splitlines()
    assert json.loads(whole[-1])["event"] == "result"
    result(linked.run(client, REMOVE_TASK.script, {"run_id": "run-1"}))
    assert task_paths(MachineDisk.open(linked.disk_folder)) == ()
    assert read_task(linked, client)["state"] == "unknown"


def test_stage_input_of_a_task_is_never_written_to_the_disk(linked: Guest) -> None:
    client = linked.client()
    secret = "sig=canary-7f3a"
    start_task(linked, client, "Test-Wait.ps1", {"seconds": 0.5, "url": secret})
    wait_for(linked.engine.started.is_set)
    for path in linked.disk_folder.rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes(), path


def test_restart_ends_tasks_and_gives_another_boot_time(linked: Guest) -> None:
    client = linked.client()
    start_task(linked, client, "Test-Wait.ps1", {"seconds": 60})
    before = result(linked.run(client, RESTART_GUEST.script, {}))["boot_time"]
    wait_for(lambda: len(linked.engine.contexts) == 1 and linked.engine.contexts[0].stop_event.is_set())
    wait_for(lambda: linked.host.agent_ready(VM_ID) and answers(linked.port))
    client = linked.client()
    assert read_task(linked, client)["state"] == "unknown"
    after = result(linked.run(client, RESTART_GUEST.script, {}))["boot_time"]
    assert after > before
    assert linked.power_changes == []


def test_shutdown_from_inside_is_told_and_the_disk_boots_again(linked: Guest) -> None:
    linked.run(linked.client(), "Test-Shutdown.ps1", {"restart": False})
    wait_for(lambda: linked.power_changes == [(VM_ID, "stopped")])
    assert linked.host.power_state(VM_ID) == "stopped"
    assert not answers(linked.port)
    assert not linked.host.agent_ready(VM_ID)
    linked.host.power_on(type(linked.spec)(VM_ID, "os", "V2", False, 30, None))
    wait_for(lambda: linked.host.agent_ready(VM_ID))
    assert result(linked.run(linked.client(), "Test-Echo.ps1", {}))["elevated"] is False


def test_power_off_and_restart_from_outside(linked: Guest) -> None:
    linked.host.power_off(VM_ID)
    linked.host.power_off(VM_ID)
    assert linked.host.power_state(VM_ID) == "stopped"
    linked.host.restart(VM_ID)
    wait_for(lambda: linked.host.agent_ready(VM_ID))
    assert answers(linked.port)
    linked.host.remove(VM_ID)
    assert linked.host.power_state(VM_ID) == "stopped"
    linked.host.power_off(VM_ID)
    with pytest.raises(UnknownMachineError):
        linked.host.restart(VM_ID)


def test_hyper_v_keeps_winrm_down_unless_its_start_is_delayed(linked: Guest) -> None:
    linked.engine.disturb_network = True
    linked.host.restart(VM_ID)
    wait_for(lambda: linked.host.agent_ready(VM_ID))
    assert not answers(linked.port)
    linked.host.power_off(VM_ID)
    disk = MachineDisk.open(linked.disk_folder)
    set_service(disk, "WinRM", AUTO, delayed=True)
    disk.save()
    linked.host.restart(VM_ID)
    wait_for(lambda: linked.host.agent_ready(VM_ID))
    assert answers(linked.port)


def test_machine_that_never_boots_has_power_but_no_agent(linked: Guest) -> None:
    linked.fail(rule("guest.boot", "never-back"))
    linked.host.restart(VM_ID)
    time.sleep(0.3)
    assert linked.host.power_state(VM_ID) == "running"
    assert not linked.host.agent_ready(VM_ID)
    outcome = linked.host.run_command(VM_ID, "anything", {}, {}, 0.1)
    assert outcome.state == "TimedOut"


def test_disk_of_the_other_generation_does_not_boot(linked: Guest, caplog: pytest.LogCaptureFixture) -> None:
    linked.host.power_off(VM_ID)
    linked.host.power_on(MachineSpec(VM_ID, "os", "V1", False, 30, None))
    wait_for(lambda: "the firmware finds nothing to boot" in caplog.text)
    assert linked.host.power_state(VM_ID) == "running"
    assert not linked.host.agent_ready(VM_ID)


def test_reboot_in_mid_stage_loses_the_run(linked: Guest) -> None:
    client = linked.client()
    linked.fail(rule("guest.reboot-mid-stage", "reboot"))
    with pytest.raises((OSError, WinRMError)):
        linked.run(client, "Test-Echo.ps1", {})
    wait_for(lambda: linked.host.agent_ready(VM_ID) and answers(linked.port))
    assert result(linked.run(linked.client(), "Test-Echo.ps1", {}))["input"] == {}


def test_removed_agent_is_not_ready(linked: Guest) -> None:
    linked.host.power_off(VM_ID)
    disk = MachineDisk.open(linked.disk_folder)
    remove_service(disk, "WindowsAzureGuestAgent")
    disk.save()
    linked.host.restart(VM_ID)
    wait_for(lambda: answers(linked.port))
    assert not linked.host.agent_ready(VM_ID)


def test_profile_for_a_disk_that_is_not_generalized_is_never_provisioned(linked: Guest) -> None:
    linked.host.power_off(VM_ID)
    linked.host.power_on(type(linked.spec)(VM_ID, "os", "V2", False, 30, OsProfile("other", "other", "password")))
    wait_for(lambda: answers(linked.port))
    assert not linked.host.agent_ready(VM_ID)
    assert "other" not in account_names(MachineDisk.open(linked.disk_folder))


def test_remove_remoting_leaves_no_trace_of_the_build(linked: Guest) -> None:
    linked.host.power_off(VM_ID)
    disk = MachineDisk.open(linked.disk_folder)
    before = disk.hives["SAM"]
    listener = listener_to_open(disk)
    assert listener is not None
    assert ACCOUNT in account_names(disk)
    remove_remoting(disk, account=ACCOUNT, thumbprint=listener.thumbprint)
    assert before is disk.hives["SAM"]
    assert ACCOUNT not in account_names(disk)
    assert (certificates(disk), listeners(disk)) == ((), ())
    assert FIREWALL_RULE not in firewall_rules(disk)
    for gone in (r"C:\winvhd", rf"C:\Users\{ACCOUNT}"):
        assert not disk.path(gone).exists()
    assert not list(disk.path(r"C:\ProgramData\Microsoft\Crypto\RSA\MachineKeys").glob("*"))
    assert remove_remoting(disk, account=ACCOUNT, thumbprint=listener.thumbprint) == ()


def test_task_ends_when_its_time_is_up(linked: Guest) -> None:
    client = linked.client()
    asked = {"run_id": "run-1", "script": "Test-Wait.ps1", "input": {"seconds": 60}, "timeout_s": 1}
    result(linked.run(client, START_TASK.script, asked))
    read = read_task(linked, client, wait_s=5)
    while read["state"] == "running":
        read = read_task(linked, client, read["next_offset"], wait_s=5)
    assert (read["state"], read["exit_code"]) == ("ended", 124)
    assert b'"code": "timeout"' in base64.b64decode(read_task(linked, client)["data"])


def test_nothing_is_left_running(linked: Guest) -> None:
    client = linked.client()
    start_task(linked, client, "Test-Wait.ps1", {"seconds": 60})
    linked.host.close()
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith(("guest", "winrs", "task", "boot"))]
