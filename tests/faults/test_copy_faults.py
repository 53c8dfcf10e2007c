"""A copy that breaks off leaves nothing half-copied behind, and nothing of the finished image is lost."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from flows.build_image import build_image
from flows.choices import ImageChoice
from images.errors import CopyError
from infra.azure.blob_storage import BuildBlobs
from infra.azure.session import Cloud
from infra.checkout import output_folder
from tests.contract.azure_adapters.page_from_url_front import page_from_url_front
from tests.faults.conftest import bare


def test_a_broken_copy_is_removed_and_the_image_is_kept(
    define: Callable[..., str], cloud: Cloud, change_profile: Callable[..., None], groups_of: Callable[[str], list[str]]
) -> None:
    (target,) = cloud.profile.copy_targets
    assert target.key is not None
    parts = urlsplit(target.endpoint)
    with page_from_url_front(f"{parts.scheme}://{parts.netloc}", target.account, target.key.get_secret_value()) as front:
        change_profile(copy_targets=(target.model_copy(update={"endpoint": f"{front.url}{parts.path}"}),))
        front.fail_after = 1
        with pytest.raises(CopyError) as caught:
            build_image(ImageChoice(define(**bare("broken"))), "local", "winvhdcopy/broken")
    # It broke in the middle, not before it began.
    assert len(front.copied) == 1
    assert "sig=" not in str(caught.value)
    assert caught.value.hint
    (folder,) = output_folder().glob("broken-*")
    with cloud.blobs(target).get_blob_client("broken", f"{folder.name}.vhd") as copy:
        assert not copy.exists()
    assert caught.value.kept
    assert (folder / "image.vhd").exists()
    assert "image.vhd" in BuildBlobs(cloud, folder.name).list()
    assert groups_of("broken") == []
