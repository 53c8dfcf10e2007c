"""VHDs in page blobs: only data travels, holes count, and a damaged one is found."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from images.errors import CaptureError, CloudError
from infra.azure.blob_storage import ensure_container
from infra.azure.page_blob import Span, check_fixed_vhd, data_spans, download_vhd, hash_page_blob
from infra.azure.session import Cloud
from tests.contract.azure_adapters.conftest import MIB, upload_vhd, write_vhd


@pytest.fixture
def vhd(cloud: Cloud, container: str, tmp_path: Path) -> Path:
    """64 MiB with data at the start, across a chunk's edge and near the end."""
    ensure_container(cloud, container)
    data = {0: os.urandom(4096), 7 * MIB: os.urandom(3 * MIB), 63 * MIB: os.urandom(512)}
    source = tmp_path / "source.vhd"
    write_vhd(source, 64, data)
    spans = [(offset, offset + len(piece)) for offset, piece in data.items()]
    upload_vhd(cloud, container, "image.vhd", source, spans)
    return source


def test_only_ranges_with_data_are_listed(cloud: Cloud, container: str, vhd: Path) -> None:
    with cloud.blobs().get_blob_client(container, "image.vhd") as blob:
        assert data_spans(blob) == [
            Span(0, 4096),
            Span(7 * MIB, 10 * MIB),
            Span(63 * MIB, 63 * MIB + 512),
            Span(64 * MIB, 64 * MIB + 512),
        ]


def test_hash_is_that_of_the_whole_file(cloud: Cloud, container: str, vhd: Path) -> None:
    seen: list[tuple[int, int]] = []
    with cloud.blobs().get_blob_client(container, "image.vhd") as blob:
        content = hash_page_blob(blob, on_progress=lambda done, total: seen.append((done, total)))
    assert content.sha256 == hashlib.sha256(vhd.read_bytes()).hexdigest()
    assert content.size_bytes == vhd.stat().st_size
    assert content.data_bytes == 3 * MIB + 4096 + 1024
    assert seen[-1] == (content.data_bytes, content.data_bytes)


def test_download_is_the_same_file_and_sparse(cloud: Cloud, container: str, vhd: Path, tmp_path: Path) -> None:
    target = tmp_path / "got.vhd"
    with cloud.blobs().get_blob_client(container, "image.vhd") as blob:
        content = download_vhd(blob, target)
    assert target.read_bytes() == vhd.read_bytes()
    assert content.sha256 == hashlib.sha256(vhd.read_bytes()).hexdigest()
    assert target.stat().st_blocks * 512 < 5 * MIB
    assert sorted(path.name for path in tmp_path.iterdir()) == ["got.vhd", "source.vhd"]


def test_a_failed_download_leaves_no_file(cloud: Cloud, container: str, vhd: Path, tmp_path: Path) -> None:
    with cloud.blobs().get_blob_client(container, "image.vhd") as blob:
        blob.upload_page(b"\x00" * 512, offset=64 * MIB, length=512)
        with pytest.raises(CaptureError, match="conectix"):
            download_vhd(blob, tmp_path / "got.vhd")
    with cloud.blobs().get_blob_client(container, "absent.vhd") as blob, pytest.raises(CloudError) as caught:
        download_vhd(blob, tmp_path / "got.vhd")
    assert caught.value.status == 404
    assert [path.name for path in tmp_path.iterdir()] == ["source.vhd"]


def test_a_cut_off_vhd_is_found_by_its_footer(cloud: Cloud, container: str, tmp_path: Path) -> None:
    ensure_container(cloud, container)
    write_vhd(tmp_path / "source.vhd", 4, {})
    with cloud.blobs().get_blob_client(container, "short.vhd") as blob:
        blob.create_page_blob(2 * MIB + 512)
        blob.upload_page((tmp_path / "source.vhd").read_bytes()[-512:], offset=2 * MIB, length=512)
        with pytest.raises(CaptureError, match="promises 4194304 bytes"):
            check_fixed_vhd(blob)
