"""The line to blob storage: the same bytes as from Azurite, VHDs in their own time."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import SecretStr

from infra.azure.blob_sas import read_sas
from infra.azure.blob_storage import ArtifactCache, ensure_container
from infra.azure.page_blob import hash_page_blob
from infra.azure.profile import CloudProfile
from infra.azure.server_copy import copy_on_server
from infra.azure.session import Cloud, open_cloud
from infra.local.arm.page_blobs import PageBlobs
from infra.local.azurite import Azurite
from infra.local.latency import LatencyProfile
from infra.local.storage_front import StorageFront
from tests.contract.azure_adapters.conftest import MIB, upload_vhd, write_vhd

READ_S, COPY_S = 1.2, 0.6
DATA = {offset * MIB: bytes([offset]) * MIB for offset in (0, 4, 8)}


@pytest.fixture
def blobs(azurite: Azurite) -> PageBlobs:
    return PageBlobs(azurite.endpoint, azurite.keys)


@pytest.fixture
def far(azurite: Azurite, blobs: PageBlobs, blob_profile: CloudProfile) -> Iterator[Cloud]:
    latency = LatencyProfile(scale=1, minutes={"blob.read": READ_S / 60, "blob.copy": COPY_S / 60})
    with StorageFront(azurite.endpoint, latency, blobs.data_bytes, blobs.made_in) as front:
        access = blob_profile.storage.model_copy(update={"endpoint": f"{front.endpoint}/winvhd"})
        with open_cloud(blob_profile.model_copy(update={"storage": access})) as cloud:
            yield cloud


@pytest.fixture
def vhd(cloud: Cloud, container: str, tmp_path: Path) -> str:
    """The sha256 of a VHD that lies in the container as image.vhd."""
    ensure_container(cloud, container)
    digest = write_vhd(tmp_path / "image.vhd", 64, DATA)
    upload_vhd(cloud, container, "image.vhd", tmp_path / "image.vhd", [(start, start + MIB) for start in DATA])
    return digest


def test_reading_a_whole_vhd_takes_its_time_however_many_read(far: Cloud, container: str, vhd: str) -> None:
    begun = time.monotonic()
    with far.blobs().get_blob_client(container, "image.vhd") as blob:
        content = hash_page_blob(blob, parallel=4)
    assert content.sha256 == vhd
    assert time.monotonic() - begun >= READ_S * 0.99


def test_two_readers_of_a_vhd_share_its_throughput(far: Cloud, container: str, vhd: str) -> None:
    def read(_: int) -> str:
        with far.blobs().get_blob_client(container, "image.vhd") as blob:
            return hash_page_blob(blob).sha256

    begun = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(read, range(2))) == [vhd, vhd]
    assert time.monotonic() - begun >= 2 * READ_S * 0.99


def test_a_copy_takes_its_time_and_keeps_the_content(far: Cloud, container: str, vhd: str, blobs: PageBlobs) -> None:
    source = read_sas(far, container, "image.vhd", hours=1)
    begun = time.monotonic()
    with far.blobs().get_blob_client(container, "copy.vhd") as target:
        copy_on_server(far, source, target, identity="disk-1")
    assert time.monotonic() - begun >= COPY_S
    assert blobs.data_bytes(f"/winvhd/{container}/copy.vhd") == blobs.data_bytes(f"/winvhd/{container}/image.vhd") > 0


def test_a_copy_from_another_account_of_azurite_itself_works(far: Cloud, azurite: Azurite, container: str, vhd: str) -> None:
    # ARM's exports are named by Azurite's own address.
    access = far.profile.storage.model_copy(update={"endpoint": f"{azurite.endpoint}/winvhd"})
    source = read_sas(far, container, "image.vhd", hours=1, access=access)
    (target_account,) = far.profile.copy_targets
    front = far.profile.storage.endpoint.removesuffix("/winvhd")
    target_access = target_account.model_copy(update={"endpoint": f"{front}/winvhdcopy"})
    ensure_container(far, container, target_access)
    with far.blobs(target_access).get_blob_client(container, "copy.vhd") as target:
        copy_on_server(far, source, target, identity="disk-1")
        assert hash_page_blob(target).sha256 == vhd


def test_other_blobs_pass_at_once_whole(far: Cloud, container: str) -> None:
    ensure_container(far, container)
    content = bytes(range(256)) * 40_000
    digest = hashlib.sha256(content).hexdigest()
    begun = time.monotonic()
    cache = ArtifactCache(far, container=container)
    assert cache.put_stream(digest, [content]) == len(content)
    assert cache.has(digest)
    with far.blobs().get_blob_client(container, cache.blob_name(digest)) as blob:
        assert blob.download_blob().readall() == content
    assert time.monotonic() - begun < 5


def test_what_an_export_took_is_part_of_its_first_copy(far: Cloud, container: str, vhd: str, blobs: PageBlobs, tmp_path: Path) -> None:
    ensure_container(far, container)
    blobs.export(tmp_path / "image.vhd", "disk/abcd", seconds=COPY_S)

    def copied_in(name: str) -> float:
        begun = time.monotonic()
        with far.blobs().get_blob_client(container, name) as target:
            copy_on_server(far, SecretStr(blobs.read_sas("disk/abcd", 60)), target, identity="disk-1")
            assert hash_page_blob(target).sha256 == vhd
        return time.monotonic() - begun - READ_S

    first, second = copied_in("first.vhd"), copied_in("second.vhd")
    assert second >= COPY_S * 0.99
    assert second - first >= COPY_S / 2
