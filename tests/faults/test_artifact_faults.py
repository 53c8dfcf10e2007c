"""Content that is not there, or is not what was promised, stops a build with the reason; a broken transfer does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flows.build_image import build_image
from flows.choices import ImageChoice
from images.errors import ArtifactError, BuildError, CloudError
from images.loading import load_definition
from infra.azure.blob_storage import ArtifactCache
from infra.azure.session import Cloud
from tasks.resolve_lock import resolve_lock
from tests.faults.conftest import PACKAGE, bare
from tests.standin_fixtures import SMALL, FaultControl

Groups = Callable[[str], list[str]]


def _package(url: str, **more: str) -> list[dict[str, str]]:
    return [{"url": url, "destination": "C:\\akse-cache\\tools\\", **more}]


@pytest.mark.parametrize(
    ("name", "changes", "kind", "words"),
    [
        ("promised", {"packages": _package(PACKAGE.format(name="promised"), sha256="ab" * 32)}, ArtifactError, "ab" * 32),
        ("unreachable", {"packages": _package("https://nowhere.invalid/tool-v1.0.0.zip")}, ArtifactError, "nowhere.invalid/tool"),
        ("absent", {"packages": _package("https://packages.example.com/does-not-exist-v1.0.0.zip")}, ArtifactError, "HTTP 404"),
        (
            "imageless",
            {
                "container_runtime": SMALL["container_runtime"],
                "features": ["Containers"],
                "container_images": ["mcr.microsoft.com/oss/v2/does-not-exist:1.0"],
            },
            ArtifactError,
            "oss/v2/does-not-exist",
        ),
        ("baseless", {"base": {**SMALL["base"], "version": "20348.1.200101"}}, CloudError, "has no version 20348.1.200101"),
    ],
)
def test_what_does_not_exist_is_named_before_a_vm_is_made(
    define: Callable[..., str], groups_of: Groups, name: str, changes: dict[str, object], kind: type[BuildError], words: str
) -> None:
    with pytest.raises(kind, match=words) as caught:
        build_image(ImageChoice(define(**bare(name, **changes))), "local", "")
    assert caught.value.hint
    assert groups_of(name) == []


def test_a_download_that_stays_corrupt_stops_the_build_and_leaves_no_wrong_file_in_the_cache(
    define: Callable[..., str], cloud: Cloud, faults: FaultControl, groups_of: Groups
) -> None:
    file = Path(define(**bare("corrupt")))
    lock = resolve_lock(load_definition(file), file, cloud)
    faults({"point": "origin.fetch", "key": PACKAGE.format(name="corrupt"), "fault": {"code": "corrupt"}, "times": None})
    with pytest.raises(ArtifactError, match=r"corrupt-v1\.0\.0\.tar\.gz.*promised") as caught:
        build_image(ImageChoice(file), "local", "")
    assert "lock" in caught.value.hint
    assert faults.struck() == {"origin.fetch corrupt": 4}
    assert not ArtifactCache(cloud).has(lock.files[0].sha256)
    assert groups_of("corrupt") == []
