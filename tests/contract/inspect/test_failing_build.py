"""A build whose disk is changed between capture and inspection fails with the names of what was changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.build_image import build_image
from flows.choices import ImageChoice
from images.errors import InventoryMismatchError
from infra.azure.page_blob import download_vhd
from infra.azure.profile import CloudProfile
from tests.contract.inspect.foreign_changes import volume_of


def test_build_fails_and_names_the_change(
    profile: CloudProfile, define: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download_and_change(blob: Any, path: Path, **options: Any) -> Any:
        result = download_vhd(blob, path, **options)
        with volume_of(path, tmp_path) as volume:
            volume.write("/akse-cache/csi-proxy/csi-proxy-v1.1.2.tar.gz", b"another")
            volume.write("/akse-cache/extra.exe", b"MZ")
        return result

    monkeypatch.setattr("tasks.capture_vhd.download_vhd", download_and_change)
    with pytest.raises(InventoryMismatchError) as caught:
        build_image(ImageChoice(define(name="changed", e2e_suites=["first-boot"])), profile.name)
    named = sorted(difference.lower().partition(": ")[0] for difference in caught.value.differences)
    assert sorted(set(named)) == [
        "cached file c:\\akse-cache\\csi-proxy\\csi-proxy-v1.1.2.tar.gz",
        "cached file c:\\akse-cache\\extra.exe",
    ]
