"""The stand-in as a process: starts, says where it is, keeps its state, and leaves nothing behind however it ends."""

from __future__ import annotations

import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
from azure.core.pipeline.policies import SansIOHTTPPolicy
from azure.mgmt.compute import ComputeManagementClient
from azure.storage.blob import ContainerClient

from infra.azure.profile import CloudProfile
from infra.local.ownership import ANNOUNCEMENT, read_announcement
from tests.contract.arm.conftest import IMAGE_2022, PASSWORD, REGION, NoCredential

CHECKOUT = Path(__file__).resolve().parents[3]


@contextmanager
def serving(state: Path, *options: str) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, Any]]]:
    """A stand-in on a state folder: (process, what it announced)."""
    command = [sys.executable, "-m", "infra.local", "serve", "--state", str(state), *options]
    with subprocess.Popen(command, cwd=CHECKOUT) as process:
        try:
            deadline = time.monotonic() + 60
            while (announced := read_announcement(state)) is None:
                assert process.poll() is None, "the stand-in ended"
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield process, announced
        finally:
            process.terminate()
            process.wait(30)


def run_to_its_end(state: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """A stand-in that is expected to refuse to start."""
    command = [sys.executable, "-m", "infra.local", "serve", "--state", str(state), *options]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)


def gone(pid: int, within_s: float = 15) -> bool:
    try:
        psutil.Process(pid).wait(within_s)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        return False
    return True


def clients(profile: CloudProfile) -> Any:
    policy: SansIOHTTPPolicy[Any, Any] = SansIOHTTPPolicy()
    return ComputeManagementClient(
        NoCredential(), profile.subscription_id, base_url=profile.arm_endpoint, authentication_policy=policy, polling_interval=0.05
    )


def put_group_and_nic(client: Any, profile: CloudProfile) -> str:
    """Id of a NIC in the new group g."""
    base = f"{profile.arm_endpoint}/subscriptions/{profile.subscription_id}/resourceGroups/g"
    network = "/providers/Microsoft.Network"
    subnet = {"name": "s", "properties": {"addressPrefix": "10.0.0.0/24"}}
    vnet = {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}, "subnets": [subnet]}
    subnet_id = f"{base.removeprefix(profile.arm_endpoint)}{network}/virtualNetworks/v/subnets/s"
    nic = {"ipConfigurations": [{"name": "main", "properties": {"subnet": {"id": subnet_id}}}]}
    with httpx.Client(params={"api-version": "2026-03-01"}) as http:
        http.put(base, json={"location": REGION}).raise_for_status()
        for path, properties in (("virtualNetworks/v", vnet), ("networkInterfaces/n", nic)):
            http.put(f"{base}{network}/{path}", json={"location": REGION, "properties": properties}).raise_for_status()
    return f"{base.removeprefix(profile.arm_endpoint)}{network}/networkInterfaces/n"


def test_it_announces_a_profile_and_ends_without_a_trace(tmp_path: Path) -> None:
    with serving(tmp_path) as (process, announced):
        assert stat.S_IMODE((tmp_path / ANNOUNCEMENT).stat().st_mode) == 0o600
        assert announced["pid"] == process.pid
        profile = CloudProfile.model_validate(announced["profile"])
        assert httpx.get(f"{profile.arm_endpoint}/_standin/status").json()["pid"] == process.pid
        assert profile.storage.key is not None
        credential = {"account_name": profile.storage.account, "account_key": profile.storage.key.get_secret_value()}
        with ContainerClient.from_container_url(f"{profile.storage.endpoint}/builds", credential=credential) as container:
            container.create_container()
        address = profile.route("https://dl.example.com/file.zip")
        assert httpx.get(address).content == httpx.get(address).content
        assert profile.origin_log_url is not None
        assert httpx.get(profile.origin_log_url).text.count("https://dl.example.com/file.zip") == 2
        second = run_to_its_end(tmp_path)
        assert second.returncode == 6
        assert f"pid {process.pid}" in second.stderr
        assert "Traceback" not in second.stderr
    assert process.returncode == 0
    assert not (tmp_path / ANNOUNCEMENT).exists()
    assert gone(announced["azurite_pid"])


def test_a_vm_survives_a_restart_of_the_stand_in_and_is_stopped_then(tmp_path: Path) -> None:
    body = {
        "location": REGION,
        "properties": {
            "hardwareProfile": {"vmSize": "Standard_D4s_v5"},
            "storageProfile": {"imageReference": IMAGE_2022, "osDisk": {"name": "os", "createOption": "FromImage", "diskSizeGB": 35}},
            "osProfile": {"computerName": "build", "adminUsername": "builder", "adminPassword": PASSWORD},
        },
    }
    with serving(tmp_path) as (_, announced):
        profile = CloudProfile.model_validate(announced["profile"])
        with clients(profile) as client:
            nic_id = put_group_and_nic(client, profile)
            body["properties"]["networkProfile"] = {"networkInterfaces": [{"id": nic_id}]}  # type: ignore[index]
            vm = client.virtual_machines.begin_create_or_update("g", "vm", body).result()
            assert vm.provisioning_state == "Succeeded"
    assert PASSWORD.encode() not in (tmp_path / "resources.sqlite").read_bytes()
    with serving(tmp_path) as (_, announced):
        profile = CloudProfile.model_validate(announced["profile"])
        with clients(profile) as client:
            assert "PowerState/stopped" in {status.code for status in client.virtual_machines.instance_view("g", "vm").statuses}
            client.virtual_machines.begin_start("g", "vm").result()
            assert "PowerState/running" in {status.code for status in client.virtual_machines.instance_view("g", "vm").statuses}


def test_killed_stand_in_takes_azurite_along_and_can_be_started_again(tmp_path: Path) -> None:
    with serving(tmp_path) as (process, announced):
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert gone(announced["azurite_pid"])
        assert read_announcement(tmp_path) is None
    with serving(tmp_path) as (_, again):
        assert again["pid"] != announced["pid"]


def test_it_ends_when_the_process_named_ends(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with parent, serving(tmp_path, "--until-parent-exits", str(parent.pid)) as (process, _):
        parent.communicate(b"\n")
        assert process.wait(20) == 0


def test_missing_fault_plan_is_an_error_with_the_file_named(tmp_path: Path) -> None:
    result = run_to_its_end(tmp_path, "--faults", str(tmp_path / "none.json"))
    assert result.returncode == 6
    assert "none.json" in result.stderr
    assert "Traceback" not in result.stderr


def test_state_folder_that_can_not_be_made_is_an_error_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    result = run_to_its_end(tmp_path / "file" / "state")
    assert result.returncode == 6
    assert "hint" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_day_can_be_pretended_from_the_start(tmp_path: Path) -> None:
    with serving(tmp_path, "--date", "2026-08-12") as (_, announced):
        status = httpx.get(f"{announced['profile']['arm_endpoint']}/_standin/status").json()
        assert status["date"] == "2026-08-12"
    refused = run_to_its_end(tmp_path, "--date", "August")
    assert (refused.returncode, "--date" in refused.stderr) == (2, True)
