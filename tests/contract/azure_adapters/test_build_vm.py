"""VMs of a build through the real SDKs: made where there is room, found again, run, captured, booted, deleted."""

from __future__ import annotations

import json
import secrets
import socket
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from azure.mgmt.compute.models import Disk, Snapshot
from pydantic import SecretStr

from images.errors import AllocationError, CloudError, ConfigurationError
from infra.azure.blob_storage import BuildBlobs
from infra.azure.build_vm import delete_vm, find_vm, provision
from infra.azure.disk_capture import capture, is_generalized, note_sha256, read_back
from infra.azure.managed_image import delete_image, make_image
from infra.azure.marketplace import list_versions, resolve_version
from infra.azure.page_blob import download_vhd, hash_page_blob
from infra.azure.reaper import expired_groups, reap
from infra.azure.resource_group import delete_group, ensure_group, find_group
from infra.azure.run_command import run_command
from infra.azure.session import Cloud
from infra.azure.tags import BuildTags
from infra.azure.vm_network import refuse_outbound
from infra.azure.vm_power import deallocate, power_off, power_state, restart, start, wait_for_power_state
from infra.azure.vm_request import ExistingDisk, MarketplaceImage, VmRequest
from tests.contract.azure_adapters.conftest import StandIn

PUBLISHER, OFFER, SKU = "MicrosoftWindowsServer", "windowsserver2022", "2022-Datacenter-Core-smalldisk"
SCRIPTS = Path(__file__).parents[3] / "infra" / "guest" / "scripts"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def tags(arm: Cloud) -> Iterator[BuildTags]:
    """Tags of a build whose resources are gone after the test."""
    tags = BuildTags(build_id=uuid.uuid4().hex[:12], flow_run_id="run", expires_at=datetime.now(UTC) + timedelta(hours=1))
    yield tags
    delete_group(arm, tags.build_id)


@pytest.fixture(scope="module")
def base(stand_in: StandIn) -> MarketplaceImage:
    from infra.azure.session import open_cloud

    with open_cloud(stand_in.profile) as cloud:
        return MarketplaceImage(PUBLISHER, OFFER, SKU, resolve_version(cloud, PUBLISHER, OFFER, SKU, "latest"))


def _request(base: MarketplaceImage, **changes: object) -> VmRequest:
    fields: dict[str, object] = {"source": base, "generation": "V1", "os_disk_gib": 50, "winrm_port": _free_port()}
    return VmRequest(**(fields | changes))  # type: ignore[arg-type]


def test_a_vm_lives_through_a_build(arm: Cloud, base: MarketplaceImage, tags: BuildTags, tmp_path: Path) -> None:
    events: list[str] = []
    request = _request(base)
    vm = provision(arm, request, tags, events.append)
    assert vm.address == "127.0.0.1"
    assert vm.admin_password is not None
    assert power_state(arm, vm) == "running"
    assert any(vm.size in event for event in events)

    # Another process takes the same VM over, without the password.
    found = find_vm(arm, tags.build_id)
    assert found == vm
    assert found.admin_password is None
    assert find_vm(arm, tags.build_id, "test") is None

    nonce = secrets.token_hex(8)
    result = run_command(
        arm,
        vm,
        (SCRIPTS / "Enable-BuildRemoting.ps1").read_text(encoding="utf-8"),
        {"address": vm.address, "port": str(request.winrm_port), "account": "build", "nonce": nonce},
        {"password": SecretStr("Correct-Horse-42-Battery")},
        timeout_s=120,
    )
    assert result.succeeded, result.error
    assert json.loads(result.output.strip().splitlines()[-1])["nonce"] == nonce
    with socket.create_connection((vm.address, request.winrm_port), timeout=5):
        pass
    assert list(arm.compute.virtual_machine_run_commands.list_by_virtual_machine(vm.resource_group, vm.name)) == []

    refuse_outbound(arm, vm)
    refuse_outbound(arm, vm)
    rules = arm.network.network_security_groups.get(vm.resource_group, vm.network_security_group).properties
    assert rules is not None
    assert [rule.name for rule in rules.security_rules or ()] == ["allow-winrm", "refuse-outbound"]
    restart(arm, vm)
    power_off(arm, vm)
    wait_for_power_state(arm, vm, "stopped", timeout_s=10)
    start(arm, vm)
    with pytest.raises(CloudError) as caught:
        wait_for_power_state(arm, vm, "stopped", timeout_s=0.2)
    assert caught.value.code == "PowerStateTimeout"
    power_off(arm, vm)

    blobs = BuildBlobs(arm, tags.build_id)
    seen: list[tuple[int, int]] = []
    deallocate(arm, vm)
    vhd = capture(arm, vm, blobs, on_progress=lambda done, total: seen.append((done, total)), on_event=events.append)
    assert is_generalized(arm, vm)
    assert seen[-1][0] == seen[-1][1]
    captured = read_back(blobs, vhd, hash_page_blob)
    again = read_back(blobs, capture(arm, vm, blobs), hash_page_blob)
    assert (again.method, again.sha256) == ("there", captured.sha256)
    # Nobody waits for it, but the disk's read access ends.
    ends_at = time.monotonic() + 60
    while (disk := arm.compute.disks.get(vm.resource_group, vm.os_disk_name).properties) is None or disk.disk_state == "ActiveSAS":
        assert time.monotonic() < ends_at
        time.sleep(0.05)
    note_sha256(blobs, captured)
    with blobs.client("image.vhd") as blob:
        assert blob.get_blob_properties().metadata["winvhd_sha256"] == captured.sha256
        assert download_vhd(blob, tmp_path / "image.vhd").sha256 == captured.sha256
    with pytest.raises(CloudError):
        start(arm, vm)

    image_id = make_image(arm, vm.resource_group, "boot-test", captured.url, generation="V1", tags=tags)
    assert image_id.endswith("/images/boot-test")
    delete_image(arm, vm.resource_group, "boot-test")
    delete_image(arm, vm.resource_group, "boot-test")

    delete_group(arm, tags.build_id)
    assert find_group(arm, tags.build_id) is None
    assert find_vm(arm, tags.build_id) is None


def test_an_existing_disk_is_attached_without_a_new_administrator(arm: Cloud, base: MarketplaceImage, tags: BuildTags) -> None:
    vm = provision(arm, _request(base), tags)
    power_off(arm, vm)
    location = arm.profile.location
    source = {"createOption": "Copy", "sourceResourceId": vm.os_disk_id}
    snapshot = arm.compute.snapshots.begin_create_or_update(
        vm.resource_group, "ckpt", Snapshot({"location": location, "properties": {"creationData": source, "incremental": True}})
    ).result()
    source = {"createOption": "Copy", "sourceResourceId": str(snapshot.id)}
    disk = arm.compute.disks.begin_create_or_update(
        vm.resource_group, "restored", Disk({"location": location, "properties": {"creationData": source, "osType": "Windows"}})
    ).result()
    restored = provision(arm, _request(base, source=ExistingDisk(str(disk.id)), role="test"), tags)
    assert restored.admin_password is None
    assert restored.os_disk_name == "restored"
    assert power_state(arm, restored) == "running"
    delete_vm(arm, restored.resource_group, restored.name)
    delete_vm(arm, restored.resource_group, restored.name)
    assert arm.compute.disks.get(vm.resource_group, "restored").name == "restored"


def test_access_to_the_disk_is_revoked_when_the_copy_fails(
    arm: Cloud, base: MarketplaceImage, tags: BuildTags, monkeypatch: pytest.MonkeyPatch
) -> None:
    from infra.azure import disk_capture

    vm = provision(arm, _request(base), tags)
    deallocate(arm, vm)

    def broken(*_: object, **__: object) -> None:
        state = arm.compute.disks.get(vm.resource_group, vm.os_disk_name)
        assert state.properties is not None
        assert state.properties.disk_state == "ActiveSAS"
        raise CloudError("the copy broke", code="Broken")

    with monkeypatch.context() as patched:
        patched.setattr(disk_capture, "copy_on_server", broken)
        with pytest.raises(CloudError, match="the copy broke") as caught:
            capture(arm, vm, BuildBlobs(arm, tags.build_id))
    # The VM goes with its group, and the next attempt has another disk: nothing of this one is of use.
    assert not caught.value.kept
    disk = arm.compute.disks.get(vm.resource_group, vm.os_disk_name)
    assert disk.properties is not None
    assert disk.properties.disk_state != "ActiveSAS"
    assert capture(arm, vm, BuildBlobs(arm, tags.build_id)).size_bytes > 0


def test_the_next_size_is_taken_when_one_is_refused(arm: Cloud, stand_in: StandIn, base: MarketplaceImage, tags: BuildTags) -> None:
    first, second = stand_in.profile.vm_sizes[:2]
    stand_in.strike({"point": "arm.vm.allocate", "key": first, "times": None, "fault": {"code": "AllocationFailed", "status": 409}})
    events: list[str] = []
    assert provision(arm, _request(base), tags, events.append).size == second
    assert f"{first} refused: AllocationFailed" in events


def test_refusal_everywhere_names_every_try(arm: Cloud, stand_in: StandIn, base: MarketplaceImage, tags: BuildTags) -> None:
    stand_in.strike({"point": "arm.vm.allocate", "times": None, "fault": {"code": "SkuNotAvailable", "status": 409}})
    with pytest.raises(AllocationError) as caught:
        provision(arm, _request(base), tags)
    assert all(size in str(caught.value) for size in stand_in.profile.vm_sizes)
    assert caught.value.hint
    assert find_vm(arm, tags.build_id) is None


def test_throttling_is_waited_out(arm: Cloud, stand_in: StandIn, tags: BuildTags) -> None:
    throttle = {"code": "TooManyRequests", "status": 429, "retry_after_s": 1}
    stand_in.strike({"point": "arm.request", "key": "PUT *resourceGroups/*", "times": 1, "fault": throttle})
    assert ensure_group(arm, tags) == f"winvhd-{tags.build_id}"


def test_a_group_of_somebody_else_is_neither_used_nor_deleted(arm: Cloud, tags: BuildTags) -> None:
    name = f"winvhd-{tags.build_id}"
    arm.resources.resource_groups.create_or_update(name, {"location": arm.profile.location, "tags": {"owner": "finance"}})
    with pytest.raises(ConfigurationError, match="somebody else"):
        ensure_group(arm, tags)
    delete_group(arm, tags.build_id)
    assert find_group(arm, tags.build_id) is not None
    arm.resources.resource_groups.begin_delete(name, polling_interval=0.05).result()


def test_deleting_what_is_not_there_is_fine(arm: Cloud) -> None:
    delete_group(arm, "never-was")


def test_the_reaper_deletes_what_has_expired_and_nothing_else(arm: Cloud, tags: BuildTags) -> None:
    now = datetime.now(UTC)
    old = tags.model_copy(update={"build_id": f"old{tags.build_id}", "expires_at": now - timedelta(days=2)})
    ensure_group(arm, tags)
    ensure_group(arm, old)
    foreign = f"foreign-{tags.build_id}"
    arm.resources.resource_groups.create_or_update(
        foreign, {"location": arm.profile.location, "tags": {"expires_at": "2020-01-01T00:00:00Z"}}
    )
    try:
        assert [group.build_id for group in expired_groups(arm, now)] == [old.build_id]
        assert [group.name for group in reap(arm, now)] == [f"winvhd-{old.build_id}"]
        delete_group(arm, old.build_id)  # waits for the end of what the reaper began
        assert find_group(arm, old.build_id) is None
        assert find_group(arm, tags.build_id) is not None
        assert arm.resources.resource_groups.get(foreign).name == foreign
    finally:
        arm.resources.resource_groups.begin_delete(foreign, polling_interval=0.05).result()


def test_versions_come_newest_first_and_a_wrong_one_names_the_newest(arm: Cloud) -> None:
    versions = list_versions(arm, PUBLISHER, OFFER, SKU)
    assert versions == sorted(versions, reverse=True)
    with pytest.raises(CloudError) as caught:
        resolve_version(arm, PUBLISHER, OFFER, SKU, "1.2.3")
    assert caught.value.code == "PlatformImageNotFound"
    with pytest.raises(CloudError) as unknown:
        list_versions(arm, PUBLISHER, OFFER, "no-such-sku")
    assert "publisher, offer and sku" in unknown.value.hint
