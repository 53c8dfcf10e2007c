"""A copy to a second account is made on the server side, proved, continued when it broke off, and removed when it is wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from images.errors import CopyError
from infra.azure.blob_copy import VhdSource, copy_vhd, find_target
from infra.azure.blob_storage import ensure_container
from infra.azure.profile import StorageAccess
from infra.azure.server_copy import SHA256, SOURCE, STATE
from infra.azure.session import Cloud
from tests.contract.azure_adapters.conftest import MIB, upload_vhd, write_vhd


@pytest.fixture
def source(cloud: Cloud, container: str, tmp_path: Path) -> VhdSource:
    ensure_container(cloud, container)
    data = {0: os.urandom(8192), 9 * MIB: os.urandom(2 * MIB)}
    sha256 = write_vhd(tmp_path / "image.vhd", 16, data)
    spans = [(start, start + len(piece)) for start, piece in data.items()]
    size = upload_vhd(cloud, container, "b1/image.vhd", tmp_path / "image.vhd", spans)
    return VhdSource(container, "b1/image.vhd", sha256, size)


def _metadata(cloud: Cloud, target: StorageAccess, container: str) -> dict[str, str]:
    with cloud.blobs(target).get_blob_client(container, "copy.vhd") as blob:
        return dict(blob.get_blob_properties().metadata)


def _exists(cloud: Cloud, target: StorageAccess, container: str) -> bool:
    with cloud.blobs(target).get_blob_client(container, "copy.vhd") as blob:
        return blob.exists()


def test_copy_is_the_same_vhd_in_the_other_account(cloud: Cloud, source: VhdSource, container: str) -> None:
    target = find_target(cloud.profile.copy_targets, "winvhdcopy")
    progress: list[tuple[int, int]] = []
    copied = copy_vhd(cloud, source, target, container, "copy.vhd", on_progress=lambda done, total: progress.append((done, total)))
    assert (copied.account, copied.sha256, copied.size_bytes) == ("winvhdcopy", source.sha256, source.size_bytes)
    assert copied.url == f"{target.endpoint}/{container}/copy.vhd"
    assert _metadata(cloud, target, container) == {SOURCE: source.sha256, STATE: "complete", SHA256: source.sha256}
    assert progress[-1][0] == progress[-1][1]


def test_a_second_copy_finds_the_first(cloud: Cloud, source: VhdSource, container: str) -> None:
    target = cloud.profile.copy_targets[0]
    copy_vhd(cloud, source, target, container, "copy.vhd")
    assert copy_vhd(cloud, source, target, container, "copy.vhd").method == "there"


def test_a_part_of_another_vhd_is_replaced(cloud: Cloud, source: VhdSource, container: str) -> None:
    target = cloud.profile.copy_targets[0]
    ensure_container(cloud, container, target)
    with cloud.blobs(target).get_blob_client(container, "copy.vhd") as blob:
        blob.create_page_blob(source.size_bytes, metadata={SOURCE: "another", STATE: "complete"})
        blob.upload_page(b"x" * 512, offset=MIB, length=512)
    assert copy_vhd(cloud, source, target, container, "copy.vhd").sha256 == source.sha256


def test_a_wrong_copy_is_removed(cloud: Cloud, source: VhdSource, container: str) -> None:
    target = cloud.profile.copy_targets[0]
    wrong = VhdSource(source.container, source.blob_name, "0" * 64, source.size_bytes)
    with pytest.raises(CopyError, match="0000") as caught:
        copy_vhd(cloud, wrong, target, container, "copy.vhd")
    assert caught.value.kept
    assert not _exists(cloud, target, container)


def test_a_copy_that_was_damaged_later_is_not_taken_for_good(cloud: Cloud, source: VhdSource, container: str) -> None:
    target = cloud.profile.copy_targets[0]
    copy_vhd(cloud, source, target, container, "copy.vhd")
    with cloud.blobs(target).get_blob_client(container, "copy.vhd") as blob:
        # Made anew, not written into: in Azurite a copy shares its list of pages with its source.
        metadata = dict(blob.get_blob_properties().metadata)
        blob.create_page_blob(source.size_bytes, metadata=metadata)
        blob.upload_page(b"x" * 512, offset=MIB, length=512)
    with pytest.raises(CopyError):
        copy_vhd(cloud, source, target, container, "copy.vhd")
    assert copy_vhd(cloud, source, target, container, "copy.vhd").sha256 == source.sha256


@pytest.mark.parametrize("verified", [True, False], ids=["verified-before", "new"])
def test_a_stopped_copy_leaves_only_what_was_verified_before(cloud: Cloud, source: VhdSource, container: str, verified: bool) -> None:
    target = cloud.profile.copy_targets[0]
    if verified:
        copy_vhd(cloud, source, target, container, "copy.vhd")

    def stop(text: str) -> None:
        if text == "reading the copy back":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy_vhd(cloud, source, target, container, "copy.vhd", on_event=stop)
    assert _exists(cloud, target, container) == verified


def test_missing_source_is_a_copy_error_without_the_sas(cloud: Cloud, container: str) -> None:
    ensure_container(cloud, container)
    target = cloud.profile.copy_targets[0]
    with pytest.raises(CopyError) as caught:
        copy_vhd(cloud, VhdSource(container, "absent.vhd", "0" * 64, 1), target, container, "copy.vhd")
    assert "sig=" not in str(caught.value)
    assert not _exists(cloud, target, container)


def test_an_unknown_account_names_those_there_are(cloud: Cloud) -> None:
    with pytest.raises(CopyError) as caught:
        find_target(cloud.profile.copy_targets, "elsewhere")
    assert "winvhdcopy" in caught.value.hint


def test_a_disk_above_512_mib_is_copied_too(cloud: Cloud, container: str, tmp_path: Path) -> None:
    """The stand-in's own disks are smaller, to keep tests quick; a copy must not depend on that."""
    ensure_container(cloud, container)
    sha256 = write_vhd(tmp_path / "large.vhd", 600, {550 * MIB: b"data" * 128})
    size = upload_vhd(cloud, container, "large.vhd", tmp_path / "large.vhd", [(550 * MIB, 550 * MIB + 512)])
    source = VhdSource(container, "large.vhd", sha256, size)
    assert copy_vhd(cloud, source, cloud.profile.copy_targets[0], container, "copy.vhd").sha256 == sha256
