"""From a generalized VM to a VHD in blob storage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from pydantic import SecretStr

from images.errors import BuildError, CaptureError, CloudError
from images.privacy import is_private_name
from infra.azure.blob_storage import BuildBlobs, ensure_container
from infra.azure.page_blob import ContentHash, Progress, check_fixed_vhd
from infra.azure.refusals import refusals
from infra.azure.server_copy import copy_on_server, record_sha256, remove_copy
from infra.azure.session import Cloud
from infra.azure.vm_power import generalize
from infra.azure.vm_request import BuildVm

if TYPE_CHECKING:
    from azure.mgmt.compute.models import AccessUri
    from azure.storage.blob import BlobClient

ACCESS_S = 6 * 3600
ACCESS_DEADLINE_S = 900


@dataclass(frozen=True)
class VhdBlob:
    """A fixed VHD in the builds container whose length and footer are right; its content was not read back yet. Sizes in bytes."""

    container: str
    blob_name: str
    url: str
    size_bytes: int
    method: str


@dataclass(frozen=True)
class CapturedVhd:
    """A VHD in the builds container; sizes in bytes, the footer included."""

    container: str
    blob_name: str
    url: str
    sha256: str
    size_bytes: int
    data_bytes: int
    method: str


@contextmanager
def disk_read_access(
    cloud: Cloud, group: str, disk_name: str, *, duration_s: int = ACCESS_S, wait_for_end: bool = True
) -> Iterator[SecretStr]:
    """A read SAS of a managed disk, revoked at the end whatever happens. Raises CloudError.

    Without `wait_for_end` the revocation is only begun when all went well: for a disk that nothing is done with for some minutes.
    """
    from azure.mgmt.compute.models import GrantAccessData

    disks = cloud.compute.disks
    grant = GrantAccessData({"access": "Read", "durationInSeconds": duration_s, "fileFormat": "VHD"})

    def revoke(*, wait: bool) -> None:
        cloud.wait.finish(
            f"revoke read access to disk {disk_name}",
            lambda polling: disks.begin_revoke_access(group, disk_name, polling=polling if wait else False),
            deadline_s=ACCESS_DEADLINE_S,
        )

    try:
        granted = cloud.wait.finish(
            f"get read access to disk {disk_name}",
            lambda polling: disks.begin_grant_access(group, disk_name, grant, polling=polling),
            deadline_s=ACCESS_DEADLINE_S,
        )
        yield _granted_url(granted, disk_name)
    except BaseException:
        # The first error counts; a grant that can not be revoked now ends by itself.
        with suppress(CloudError):
            revoke(wait=True)
        raise
    revoke(wait=wait_for_end)


def capture(
    cloud: Cloud,
    vm: BuildVm,
    blobs: BuildBlobs,
    name: str = "image.vhd",
    *,
    on_progress: Progress = lambda _done, _total: None,
    on_event: Callable[[str], None] = lambda _: None,
) -> VhdBlob:
    """The OS disk of a deallocated VM that sysprep has shut down, as a fixed VHD in the builds container.

    May be repeated for the same VM: the part of its disk that was copied is not copied again. Its content is read by `read_back`, which may
    run beside the first use of the VHD. Raises CloudError, and CaptureError when length or footer are wrong.
    """
    _generalize_once(cloud, vm)
    if not is_private_name(blobs.container):
        # That of private work was made at the start. If it is gone by now, the work was purged, and must not come back unmarked.
        ensure_container(cloud, blobs.container)
    # A generalized VM never starts again, so its disk stands for its content. The next attempt's disk has the same name.
    identity = f"disk-{disk_unique_id(cloud, vm)}"
    with blobs.client(name) as target:
        # The disk stays until the tests of the VHD are over.
        with disk_read_access(cloud, vm.resource_group, vm.os_disk_name, wait_for_end=False) as source:
            on_event(f"copying disk {vm.os_disk_name} to {blobs.container}/{blobs.blob_name(name)}")
            outcome = copy_on_server(cloud, source, target, identity=identity, on_progress=on_progress, on_event=on_event)
        with _unsound_is_removed(target):
            size = check_fixed_vhd(target)
            if size != outcome.size_bytes:
                raise CaptureError(f"the VHD has {size} bytes, the disk {outcome.size_bytes}", hint="capture again")
    return VhdBlob(blobs.container, blobs.blob_name(name), blobs.url(name), size, outcome.method)


def read_back(blobs: BuildBlobs, vhd: VhdBlob, read: Callable[[BlobClient], ContentHash], name: str = "image.vhd") -> CapturedVhd:
    """The VHD with the hash of its content; `read` reads all of it, and may keep it.

    Raises what `read` raises: CloudError, CaptureError when the VHD is not sound; it is then deleted.
    """
    with blobs.client(name) as target, _unsound_is_removed(target):
        content = read(target)
        if content.size_bytes != vhd.size_bytes:
            raise CaptureError(f"{content.size_bytes} bytes were read of a VHD of {vhd.size_bytes}", hint="capture again")
    return CapturedVhd(vhd.container, vhd.blob_name, vhd.url, content.sha256, vhd.size_bytes, content.data_bytes, vhd.method)


def note_sha256(blobs: BuildBlobs, captured: CapturedVhd, name: str = "image.vhd") -> None:
    """Note the content's hash at the blob, for whoever finds it; readers that want it unchanged must be done. Raises CloudError."""
    with blobs.client(name) as target:
        record_sha256(target, captured.sha256)


@contextmanager
def _unsound_is_removed(target: BlobClient) -> Iterator[None]:
    try:
        yield
    except CaptureError:
        # Complete but not sound: left there, the next attempt would take it for done.
        with suppress(BuildError):
            remove_copy(target)
        raise


def disk_unique_id(cloud: Cloud, vm: BuildVm) -> str:
    """The id that Azure gives the OS disk of a VM for its life; its resource id is only a name. Raises CloudError."""
    with refusals(f"look up disk {vm.os_disk_name}"):
        disk = cloud.compute.disks.get(vm.resource_group, vm.os_disk_name)
    if disk.properties is None or not disk.properties.unique_id:
        raise CloudError(f"Azure describes disk {vm.os_disk_name} without its unique id", code="NoUniqueId", hint="capture again")
    return str(disk.properties.unique_id)


def _granted_url(granted: AccessUri, disk_name: str) -> SecretStr:
    if not granted.access_sas:
        raise CloudError(f"Azure granted access to disk {disk_name} without an address", code="NoAccessSas", hint="capture again")
    return SecretStr(granted.access_sas)


def _generalize_once(cloud: Cloud, vm: BuildVm) -> None:
    try:
        generalize(cloud, vm)
    except CloudError as error:
        # Azure refuses a second time; a repeated capture meets that.
        if error.status != HTTPStatus.CONFLICT or not is_generalized(cloud, vm):
            raise


def is_generalized(cloud: Cloud, vm: BuildVm) -> bool:
    """True when Azure has the VM marked as generalized. Raises CloudError."""
    with refusals(f"read the state of VM {vm.name}"):
        view = cloud.compute.virtual_machines.instance_view(vm.resource_group, vm.name)
    return any((status.code or "").lower() == "osstate/generalized" for status in view.statuses or ())
