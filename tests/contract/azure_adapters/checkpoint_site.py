"""A stopped build VM and a place for checkpoints that no other test uses."""

from __future__ import annotations

import secrets
import socket
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from azure.mgmt.compute.models import SnapshotUpdate
from pydantic import SecretStr

from images.stages.contract import NoInput
from images.stages.finish import CLEAR_RUN_COMMAND, SET_IDENTITY, VhdIdentityInput
from infra.azure.build_vm import provision
from infra.azure.checkpoints import (
    PUBLIC,
    Checkpoint,
    find_checkpoint,
    save_checkpoint,
)
from infra.azure.marketplace import resolve_version
from infra.azure.profile import CloudProfile
from infra.azure.resource_group import begin_delete_group, delete_group
from infra.azure.run_command import RunCommandResult, run_command
from infra.azure.session import Cloud, open_cloud
from infra.azure.tags import BuildTags
from infra.azure.vm_power import power_off
from infra.azure.vm_request import BuildVm, MarketplaceImage, VmRequest
from infra.guest.contact import first_contact
from infra.guest.endpoint import GuestEndpoint
from infra.guest.limits import LinkLimits
from infra.guest.link import GuestLink

OFFER = ("MicrosoftWindowsServer", "windowsserver2022", "2022-Datacenter-Core-smalldisk")
LIMITS = LinkLimits(reconnect_s=3, reconnect_pause_s=0.05, poll_pause_s=0.02)
VHD_ID = "5f0ac6e9-4a2b-4f5c-9d5e-0123456789ab"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def new_fingerprint() -> str:
    return secrets.token_hex(32)


def contact_once(cloud: Cloud, vm: BuildVm, port: int) -> GuestEndpoint:
    def run(script: str, parameters: Mapping[str, str], protected: Mapping[str, SecretStr]) -> RunCommandResult:
        return run_command(cloud, vm, script, parameters, protected)

    # One attempt: a status that is left on a restored disk would answer it.
    return first_contact(run, vm.address, port, attempts=1)


@dataclass
class Site:
    """One stopped build VM, in a cloud whose checkpoint groups no other test uses."""

    cloud: Cloud
    tags: BuildTags
    vm: BuildVm
    contact: GuestEndpoint
    """What the VM answered to before it was stopped."""

    def save(self, fingerprint: str, vm: BuildVm | None = None, *, scope: str = PUBLIC, **changes: object) -> Checkpoint:
        fields: dict[str, object] = {
            "layer": "os",
            "image": "small",
            "lock_digest": "1" * 64,
            "build_id": self.tags.build_id,
            "expires_at": datetime.now(UTC) + timedelta(days=30),
        }
        return save_checkpoint(self.cloud, vm or self.vm, fingerprint=fingerprint, scope=scope, **(fields | changes))  # type: ignore[arg-type]

    def find(self, fingerprint: str, scope: str = PUBLIC) -> tuple[Checkpoint | None, str]:
        """(the checkpoint, why it is not used)"""
        said: list[str] = []
        found = find_checkpoint(self.cloud, "os", fingerprint, scope, on_event=said.append)
        return found, " ".join(said)

    def tag(self, checkpoint: Checkpoint, **changes: str | None) -> None:
        """Change a snapshot's tags behind the product's back; None removes one."""
        snapshots = self.cloud.compute.snapshots
        tags = dict(snapshots.get(checkpoint.resource_group, checkpoint.name).tags or {})
        names = {name.replace("_by", "-by") if name == "created_by" else name: value for name, value in changes.items()}
        merged = {name: value for name, value in (tags | names).items() if value is not None}
        snapshots.begin_update(checkpoint.resource_group, checkpoint.name, SnapshotUpdate({"tags": merged})).result()


@contextmanager
def stopped_site(profile: CloudProfile) -> Iterator[Site]:
    """A VM that was contacted, prepared for its checkpoint and stopped; all is deleted at the end."""
    profile = profile.model_copy(update={"resource_group_prefix": f"ck{uuid.uuid4().hex[:6]}"})
    tags = BuildTags(build_id=uuid.uuid4().hex[:12], expires_at=datetime.now(UTC) + timedelta(hours=1))
    with open_cloud(profile) as cloud:
        base = MarketplaceImage(*OFFER, resolve_version(cloud, *OFFER, "latest"))
        port = free_port()
        vm = provision(cloud, VmRequest(source=base, generation="V1", os_disk_gib=50, winrm_port=port), tags)
        endpoint = contact_once(cloud, vm, port)
        with GuestLink(endpoint, limits=LIMITS) as link:
            link.run_stage(SET_IDENTITY, VhdIdentityInput(vhd_id=VHD_ID), run_id="identity")
            link.run_stage(CLEAR_RUN_COMMAND, NoInput(), run_id="checkpoint")
        power_off(cloud, vm)
        yield Site(cloud, tags, vm, endpoint)
        delete_group(cloud, tags.build_id)
        groups = [group.name or "" for group in cloud.resources.resource_groups.list()]
        for name in (name for name in groups if name.startswith(f"{profile.resource_group_prefix}-checkpoints")):
            begin_delete_group(cloud, name, wait=True)
