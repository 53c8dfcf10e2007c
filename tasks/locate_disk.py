"""Open a disk wherever it lies: a file here, a blob behind a SAS or in a storage account of the profile, a snapshot."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from images.errors import ConfigurationError
from infra.azure.blob_sas import read_sas
from infra.azure.profile import CloudProfile, StorageAccess
from infra.azure.session import open_cloud
from infra.azure.snapshot_access import SnapshotId, snapshot_read_access
from infra.profiles import load_profile
from infra.vhd.blob_range_reader import open_blob
from infra.vhd.inspect import open_file
from infra.vhd.range_reader import RangeReader

BUILT_DISK = "image.vhd"
"""tasks.capture_vhd.VHD_NAME, without loading Prefect for it."""
_SAS_HOURS = 2.0
_FIRST_WAIT_S = 0.5


@dataclass(frozen=True)
class OpenDisk:
    """A disk to read; `shown` names it without any secret."""

    reader: RangeReader
    require_footer: bool
    shown: str


def is_remote(where: str) -> bool:
    """True for a URL or an ARM id, false for a path."""
    return where.startswith(("http://", "https://")) or where.lower().startswith("/subscriptions/")


@contextmanager
def open_disk(where: str, profile_name: str) -> Iterator[OpenDisk]:
    """The disk at a path (or in a build's folder), a blob's URL or a snapshot's id; the profile is loaded only to get access.

    Raises VhdNotFoundError, CloudError, ConfigurationError; none of them shows a SAS.
    """
    with ExitStack() as stack:
        if where.lower().startswith("/subscriptions/"):
            snapshot = SnapshotId.parse(where)
            cloud = stack.enter_context(open_cloud(load_profile(profile_name)))
            sas = stack.enter_context(snapshot_read_access(cloud, snapshot))
            reader = stack.enter_context(open_blob(sas.get_secret_value(), first_wait_s=min(_FIRST_WAIT_S, cloud.profile.poll_interval_s)))
            yield OpenDisk(reader, True, f"snapshot {snapshot.name}")
        elif is_remote(where):
            reader = stack.enter_context(open_blob(_readable_url(where, profile_name)))
            yield OpenDisk(reader, True, urlsplit(where).path.rpartition("/")[2])
        else:
            path = Path(where) / BUILT_DISK if Path(where).is_dir() else Path(where)
            yield OpenDisk(stack.enter_context(open_file(path)), path.suffix.lower() == ".vhd", path.name)


def _readable_url(url: str, profile_name: str) -> str:
    parts = urlsplit(url)
    if "sig" in parse_qs(parts.query):
        return url
    if parts.query:
        raise ConfigurationError("the blob's URL has a query without a signature", hint="give the whole SAS, in quotes, or none at all")
    profile = load_profile(profile_name)
    access = _account_of(url, profile)
    container, _, blob = unquote(url[len(access.endpoint.rstrip("/")) + 1 :]).partition("/")
    if not container or not blob:
        raise ConfigurationError("the URL names no blob", hint=f"{access.endpoint}/<container>/<blob>")
    with open_cloud(profile) as cloud:
        return read_sas(cloud, container, blob, hours=_SAS_HOURS, access=access).get_secret_value()


def _account_of(url: str, profile: CloudProfile) -> StorageAccess:
    """The storage account that a blob's URL is in, of those the profile knows or, on Azure, any that azure-identity may open."""
    for access in (profile.storage, *profile.copy_targets):
        if url.lower().startswith(access.endpoint.rstrip("/").lower() + "/"):
            return access
    parts = urlsplit(url)
    account, _, rest = (parts.hostname or "").partition(".")
    if profile.credential == "default" and parts.scheme == "https" and rest.startswith("blob."):
        return StorageAccess(account=account, endpoint=f"https://{parts.netloc}")
    raise ConfigurationError(
        f"{parts.netloc} is no storage account of the {profile.name} profile", hint="give a URL with a SAS, or another --profile"
    )
