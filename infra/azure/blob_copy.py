"""Copies a finished VHD to another storage account and proves that the copy is the same."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from images.errors import BuildError, CloudError, ConfigurationError, CopyError, PrivateImageError
from images.privacy import Evidence, refuse_private
from infra.azure.blob_sas import read_sas
from infra.azure.blob_storage import ensure_container
from infra.azure.page_blob import Progress, check_fixed_vhd, hash_page_blob
from infra.azure.private_mark import refuse_private_blob
from infra.azure.profile import StorageAccess
from infra.azure.server_copy import copy_on_server, record_sha256, recorded_sha256, remove_copy
from infra.azure.session import Cloud

SAS_HOURS = 6.0


@dataclass(frozen=True)
class VhdSource:
    """A VHD of ours: where it is and what it is; the size in bytes includes the footer."""

    container: str
    blob_name: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class CopiedVhd:
    """A verified copy."""

    account: str
    container: str
    blob_name: str
    url: str
    sha256: str
    size_bytes: int
    method: str
    resumed: bool


def copy_vhd(
    cloud: Cloud,
    source: VhdSource,
    target: StorageAccess,
    container: str,
    name: str,
    *,
    on_progress: Progress = lambda _done, _total: None,
    on_event: Callable[[str], None] = lambda _: None,
) -> CopiedVhd:
    """Copy the VHD on the server side with a read-only SAS, follow it to its end and verify length, footer and content.

    A transfer that breaks off is continued with the ranges that are missing. CopyError when it fails; what was copied is removed then.
    PrivateImageError, before anything is made, when the VHD or its new place shows any sign of private work.
    """
    where = f"{target.account}/{container}/{name}"
    refuse_private("copy a VHD", Evidence(names=(container, name)))
    try:
        refuse_private_blob("copy a VHD", cloud, source.container, source.blob_name)
        ensure_container(cloud, container, target)
        with cloud.blobs(target).get_blob_client(container, name) as blob:
            published = recorded_sha256(blob) == source.sha256
            try:
                return _copy_and_verify(cloud, source, target, container, name, on_progress=on_progress, on_event=on_event)
            except BaseException as error:
                # Also when the user stops the build: nobody may ever ask for this copy again. One that an earlier run verified is no
                # half-made one, and goes only when its content turns out to be wrong, not when it can not be read just now.
                if not published or (isinstance(error, BuildError) and not isinstance(error, CloudError)):
                    with suppress(BuildError):
                        remove_copy(blob)
                raise
    except (CopyError, PrivateImageError):
        raise
    except BuildError as error:
        hint = error.hint or "check that the target account exists and lets this identity write"
        raise CopyError(
            f"copying the VHD failed: {error.what}", hint=hint, where=where, kept="the VHD in the build's own account"
        ) from error


def _copy_and_verify(
    cloud: Cloud,
    source: VhdSource,
    target: StorageAccess,
    container: str,
    name: str,
    *,
    on_progress: Progress,
    on_event: Callable[[str], None],
) -> CopiedVhd:
    where = f"{target.account}/{container}/{name}"
    with cloud.blobs(target).get_blob_client(container, name) as blob:
        sas = read_sas(cloud, source.container, source.blob_name, hours=SAS_HOURS)
        on_event(f"copying {source.blob_name} to {where}")
        outcome = copy_on_server(cloud, sas, blob, identity=source.sha256, on_progress=on_progress, on_event=on_event)
        size = check_fixed_vhd(blob)
        on_event("reading the copy back")
        content = hash_page_blob(blob)
        if size != source.size_bytes or content.sha256 != source.sha256:
            raise CopyError(
                f"the copy has {size} bytes and sha256 {content.sha256}, the VHD {source.size_bytes} and {source.sha256}",
                hint="run the copy again; when it repeats, the VHD was changed after its capture",
                where=where,
                kept="the VHD in the build's own account",
            )
        record_sha256(blob, content.sha256)
        return CopiedVhd(
            account=target.account,
            container=container,
            blob_name=name,
            url=str(blob.url),
            sha256=content.sha256,
            size_bytes=size,
            method=outcome.method,
            resumed=outcome.resumed,
        )


def split_target(copy_to: str) -> tuple[str, str]:
    """(account, container) of ACCOUNT/CONTAINER; raises ConfigurationError when it is not of this form."""
    account, separator, container = copy_to.partition("/")
    if not separator or not account or not container or "/" in container:
        raise ConfigurationError(f"{copy_to!r} is not ACCOUNT/CONTAINER", hint="for example: --copy-to winvhdcopy/images")
    return account, container


def find_target(targets: tuple[StorageAccess, ...], account: str) -> StorageAccess:
    """The copy target with this account name; CopyError naming those there are."""
    for target in targets:
        if target.account == account:
            return target
    known = ", ".join(target.account for target in targets) or "none"
    raise CopyError(f"the profile has no copy target {account!r}", hint=f"copy_targets of the profile: {known}")
