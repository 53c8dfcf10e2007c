"""Checkpoints through the real SDKs: saved once, restored as a machine that asks for first contact, deleted."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from images.errors import CloudError, ConfigurationError
from images.stages.finish import SET_IDENTITY, VhdIdentityInput
from infra.azure import checkpoints
from infra.azure.build_vm import delete_vm, provision
from infra.azure.checkpoints import (
    PUBLIC,
    Checkpoint,
    CheckpointState,
    checkpoint_group,
    delete_checkpoint,
    list_checkpoints,
    restore_disk,
)
from infra.azure.reaper import expired_groups
from infra.azure.session import Cloud
from infra.azure.vm_power import PowerState, power_off, power_state, start
from infra.azure.vm_request import BuildVm, ExistingDisk, VmRequest
from infra.guest.faults import GuestSilentError, LinkRefusedError
from infra.guest.link import GuestLink
from tests.contract.azure_adapters.checkpoint_site import LIMITS, VHD_ID, Site, contact_once, free_port, new_fingerprint, stopped_site
from tests.contract.azure_adapters.conftest import StandIn


@pytest.fixture(scope="module")
def site(stand_in: StandIn) -> Iterator[Site]:
    with stopped_site(stand_in.profile) as made:
        yield made


def test_a_restored_checkpoint_boots_and_takes_only_a_newcontact_once(site: Site) -> None:
    fingerprint = new_fingerprint()
    saved = site.save(fingerprint)
    assert site.find(fingerprint) == (saved, "")
    disk = restore_disk(site.cloud, saved, site.vm.resource_group, "again-os", site.tags)
    port = free_port()
    request = VmRequest(source=disk, generation="V1", os_disk_gib=50, winrm_port=port, role="test")
    vm = provision(site.cloud, request, site.tags)
    assert (vm.os_disk_name, vm.admin_password) == ("again-os", None)
    fresh = contact_once(site.cloud, vm, port)
    assert fresh.thumbprint != site.contact.thumbprint
    assert fresh.password != site.contact.password
    with GuestLink(fresh, limits=LIMITS) as link:
        link.wait_until_ready()
        # The content is the checkpoint's: the identity is there already.
        assert link.run_stage(SET_IDENTITY, VhdIdentityInput(vhd_id=VHD_ID), run_id="identity-again").changed is False
    for stale in (
        site.contact.model_copy(update={"port": port}),
        fresh.model_copy(update={"password": site.contact.password}),
    ):
        limits = LIMITS.model_copy(update={"reconnect_s": 0.3})
        with GuestLink(stale, limits=limits) as link, pytest.raises((LinkRefusedError, GuestSilentError)):
            link.state()
    delete_vm(site.cloud, vm.resource_group, vm.name)


def test_the_snapshot_and_the_disk_are_what_azure_needs_to_use_them(site: Site) -> None:
    saved = site.save(new_fingerprint())
    snapshot = site.cloud.compute.snapshots.get(saved.resource_group, saved.name)
    source = site.cloud.compute.disks.get(site.vm.resource_group, site.vm.os_disk_name)
    assert snapshot.properties is not None and source.properties is not None
    assert saved.name == f"ckpt-os-{site.cloud.profile.location}-{saved.fingerprint[:24]}"
    assert (snapshot.properties.incremental, snapshot.properties.hyper_v_generation) == (True, "V1")
    assert saved.source_unique_id == source.properties.unique_id
    assert saved.size_gib == 50
    assert (snapshot.tags or {})["fingerprint"] == saved.fingerprint
    disk = restore_disk(site.cloud, saved, site.vm.resource_group, "typed-os", site.tags, zone="1")
    made = site.cloud.compute.disks.get(site.vm.resource_group, "typed-os")
    assert made.properties is not None and made.sku is not None
    assert disk == ExistingDisk(str(made.id), "1")
    assert (made.sku.name, made.zones, made.tags) == ("Premium_LRS", ["1"], site.tags.to_azure())
    assert (made.properties.os_type, made.properties.hyper_v_generation, made.properties.disk_size_gb) == ("Windows", "V1", 50)


def test_saving_again_gives_the_first_one_back(site: Site) -> None:
    fingerprint = new_fingerprint()
    first = site.save(fingerprint)
    assert site.save(fingerprint, build_id="another-build") == first


def test_two_writers_end_with_one_checkpoint(site: Site) -> None:
    fingerprint = new_fingerprint()
    other_disk = restore_disk(site.cloud, site.save(new_fingerprint()), site.vm.resource_group, "other-os", site.tags)
    other = replace(site.vm, os_disk_name="other-os", os_disk_id=other_disk.disk_id)
    at_once = threading.Barrier(2)

    def write(vm: BuildVm) -> Checkpoint:
        at_once.wait(20)
        return site.save(fingerprint, vm)

    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(write, (site.vm, other))
    assert one == two == site.find(fingerprint)[0]


def test_the_put_is_the_fence_for_a_writer_that_saw_nothing(site: Site, stand_in: StandIn) -> None:
    fingerprint = new_fingerprint()
    first = site.save(fingerprint)
    other_disk = restore_disk(site.cloud, first, site.vm.resource_group, "late-os", site.tags)
    late = replace(site.vm, os_disk_name="late-os", os_disk_id=other_disk.disk_id)
    unseen = {"code": "ResourceNotFound", "status": 404}
    stand_in.strike({"point": "arm.request", "key": f"GET *{first.name}", "times": 1, "fault": unseen})
    said: list[str] = []
    assert site.save(fingerprint, late, on_event=said.append) == first
    assert "was refused: PropertyChangeNotAllowed" in said[0]
    assert "is there already" in said[1]


def test_a_running_vm_is_not_saved(site: Site) -> None:
    fingerprint = new_fingerprint()
    start(site.cloud, site.vm)
    try:
        with pytest.raises(ConfigurationError, match="is running") as caught:
            site.save(fingerprint)
        assert "power_off" in caught.value.hint
        assert site.find(fingerprint) == (None, "")
    finally:
        power_off(site.cloud, site.vm)


def test_a_vm_that_somebody_starts_meanwhile_leaves_no_checkpoint(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    fingerprint = new_fingerprint()
    looks: list[PowerState | None] = []

    def then_started(cloud: Cloud, vm: BuildVm) -> PowerState | None:
        looks.append(power_state(cloud, vm))
        if len(looks) == 1:
            start(cloud, vm)
        return looks[-1]

    with monkeypatch.context() as patched:
        patched.setattr(checkpoints, "power_state", then_started)
        with pytest.raises(CloudError) as caught:
            site.save(fingerprint)
    power_off(site.cloud, site.vm)
    assert caught.value.code == "NotStopped"
    assert looks == ["stopped", "running"]
    assert site.find(fingerprint) == (None, "")


def test_private_checkpoints_have_a_group_of_their_own_that_the_reaper_takes(site: Site) -> None:
    fingerprint, ends = new_fingerprint(), datetime.now(UTC) + timedelta(days=2)
    private = site.save(fingerprint, scope="private-a1", expires_at=ends)
    assert private.resource_group == checkpoint_group(site.cloud.profile.resource_group_prefix, "private-a1")
    assert site.find(fingerprint) == (None, "")
    assert site.find(fingerprint, "private-a2") == (None, "")
    assert site.find(fingerprint, "private-a1") == (private, "")
    assert private.name not in {state.name for state in list_checkpoints(site.cloud, PUBLIC)}
    site.save(new_fingerprint())
    prefix = site.cloud.profile.resource_group_prefix
    assert all(not group.name.startswith(prefix) for group in expired_groups(site.cloud, datetime.now(UTC)))
    taken = [group for group in expired_groups(site.cloud, ends + timedelta(days=365)) if "-checkpoints" in group.name]
    assert [(group.name, group.scope) for group in taken] == [(private.resource_group, "private-a1")]


def test_a_private_scope_lives_as_long_as_its_last_checkpoint(site: Site) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    for days in (1, 3, 2):
        site.save(new_fingerprint(), scope="private-b1", expires_at=now + timedelta(days=days))
    ends = {group.scope: group.expired_at for group in expired_groups(site.cloud, now + timedelta(days=9))}
    assert ends["private-b1"] == now + timedelta(days=3)


def test_private_work_without_an_end_and_scopes_that_are_none_are_refused(site: Site) -> None:
    with pytest.raises(ConfigurationError, match="need an expiry"):
        site.save(new_fingerprint(), scope="private-a1", expires_at=None)
    for scope in ("", "private-", "Public", "private-a/b"):
        with pytest.raises(ConfigurationError, match="is not a scope"):
            site.find(new_fingerprint(), scope)


def test_deleting_takes_it_out_of_every_list_and_may_be_repeated(site: Site) -> None:
    saved = site.save(new_fingerprint())
    disk = restore_disk(site.cloud, saved, site.vm.resource_group, "kept-os", site.tags)
    for _ in range(2):
        delete_checkpoint(site.cloud, saved)
    assert site.find(saved.fingerprint) == (None, "")
    assert saved.name not in {state.name for state in list_checkpoints(site.cloud)}
    assert site.cloud.compute.disks.get(site.vm.resource_group, "kept-os").id == disk.disk_id


def test_lists_begin_with_the_newest(site: Site) -> None:
    names = [site.save(new_fingerprint()).name for _ in range(2)]
    listed: list[CheckpointState] = [state for state in list_checkpoints(site.cloud, PUBLIC) if state.name in names]
    assert [state.name for state in listed] == names[::-1]


def test_a_disk_that_is_left_over_is_replaced_and_one_in_use_is_not_touched(site: Site) -> None:
    saved = site.save(new_fingerprint())
    group = site.vm.resource_group
    ids = []
    for _ in range(2):
        restore_disk(site.cloud, saved, group, "twice-os", site.tags)
        disk = site.cloud.compute.disks.get(group, "twice-os")
        assert disk.properties is not None
        ids.append(disk.properties.unique_id)
    assert ids[0] != ids[1]
    with pytest.raises(CloudError) as caught:
        restore_disk(site.cloud, saved, group, site.vm.os_disk_name, site.tags)
    assert caught.value.code == "DiskInUse"
