"""Where the service has Put Page From URL, only ranges with data are copied, and a copy that broke off continues."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from images.errors import CloudError, CopyError
from infra.azure.blob_copy import VhdSource, copy_vhd
from infra.azure.blob_sas import read_sas
from infra.azure.blob_storage import ensure_container
from infra.azure.profile import StorageAccess
from infra.azure.server_copy import SOURCE, STATE, copy_on_server
from infra.azure.session import Cloud
from infra.local.azurite import Azurite
from tests.contract.azure_adapters.conftest import MIB, upload_vhd, write_vhd
from tests.contract.azure_adapters.page_from_url_front import Front, page_from_url_front

CHUNKS = 6


@pytest.fixture
def front(azurite: Azurite) -> Iterator[Front]:
    with page_from_url_front(azurite.endpoint, "winvhdcopy", azurite.keys["winvhdcopy"]) as front:
        yield front


@pytest.fixture
def target(cloud: Cloud, front: Front) -> StorageAccess:
    return cloud.profile.copy_targets[0].model_copy(update={"endpoint": f"{front.url}/winvhdcopy"})


@pytest.fixture
def source(cloud: Cloud, container: str, tmp_path: Path) -> VhdSource:
    """64 MiB with data in five chunks of 4 MiB, and the footer in a sixth."""
    ensure_container(cloud, container)
    data = {0: os.urandom(MIB), 10 * MIB: os.urandom(4 * MIB), 40 * MIB: os.urandom(MIB), 50 * MIB: os.urandom(512)}
    sha256 = write_vhd(tmp_path / "image.vhd", 64, data)
    spans = [(start, start + len(piece)) for start, piece in data.items()]
    size = upload_vhd(cloud, container, "image.vhd", tmp_path / "image.vhd", spans)
    return VhdSource(container, "image.vhd", sha256, size)


def test_only_ranges_with_data_are_copied(cloud: Cloud, front: Front, source: VhdSource, target: StorageAccess, container: str) -> None:
    progress: list[tuple[int, int]] = []
    copied = copy_vhd(cloud, source, target, container, "copy.vhd", on_progress=lambda done, total: progress.append((done, total)))
    assert (copied.method, copied.sha256, copied.resumed) == ("pages", source.sha256, False)
    assert len(front.copied) == CHUNKS
    assert progress[-1] == (6 * MIB + 1024, 6 * MIB + 1024)


def test_a_copy_that_broke_off_continues_with_what_is_missing(
    cloud: Cloud, front: Front, source: VhdSource, target: StorageAccess, container: str
) -> None:
    ensure_container(cloud, container, target)
    sas = read_sas(cloud, source.container, source.blob_name, hours=1)
    front.fail_after = 2
    with cloud.blobs(target).get_blob_client(container, "copy.vhd") as blob:
        with pytest.raises(CloudError) as caught:
            copy_on_server(cloud, sas, blob, identity=source.sha256)
        assert caught.value.code == "AuthorizationFailure"
        assert blob.get_blob_properties().metadata == {SOURCE: source.sha256, STATE: "partial"}
    front.fail_after = None
    copied = copy_vhd(cloud, source, target, container, "copy.vhd")
    assert (copied.resumed, copied.sha256) == (True, source.sha256)
    assert len(front.copied) == CHUNKS
    assert len(set(front.copied)) == CHUNKS


def test_a_short_outage_is_bridged_in_the_same_call(
    cloud: Cloud, front: Front, source: VhdSource, target: StorageAccess, container: str
) -> None:
    front.fail_after, front.failure = 3, (409, "CannotVerifyCopySource")
    events: list[str] = []

    def on_event(text: str) -> None:
        events.append(text)
        if "broke off" in text:
            front.fail_after = None

    copied = copy_vhd(cloud, source, target, container, "copy.vhd", on_event=on_event)
    assert (copied.resumed, copied.sha256) == (True, source.sha256)
    assert len(front.copied) == CHUNKS
    assert any("continuing with the missing ranges" in event for event in events)


def test_a_copy_that_keeps_failing_is_removed(cloud: Cloud, front: Front, source: VhdSource, target: StorageAccess, container: str) -> None:
    front.fail_after, front.failure = 1, (409, "CannotVerifyCopySource")
    with pytest.raises(CopyError) as caught:
        copy_vhd(cloud, source, target, container, "copy.vhd")
    assert "sig=" not in str(caught.value)
    with cloud.blobs(target).get_blob_client(container, "copy.vhd") as blob:
        assert not blob.exists()
