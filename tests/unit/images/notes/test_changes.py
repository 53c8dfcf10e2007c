"""The notes say what changed since the previous release of the image, and only that."""

from __future__ import annotations

from typing import Any

from images.inventory import CachedFile, Inventory, Qfe, Service
from images.notes.changes import changes_since
from images.notes.facts import PreviousRelease
from images.notes.markdown import render_markdown
from tests.unit.images.notes.parts import facts_of, images_of, small_inventory

OLD = small_inventory()


def _changes(**changes: Any) -> dict[str, list[tuple[str, str | None, str | None]]]:
    parts = changes_since(OLD, small_inventory(**changes))
    return {part.title: [(change.name, change.before, change.after) for change in part.changes] for part in parts}


def _section(new: Inventory) -> list[str]:
    text = render_markdown(facts_of(new, previous=PreviousRelease(version="20348.5386.26071401", inventory=OLD)))
    _, _, rest = text.partition("\n## What changed since 20348.5386.26071401\n")
    section, _, _ = rest.partition("\n## ")
    return [line for line in section.splitlines() if line]


def test_updates_that_came_and_went_are_named() -> None:
    new = Qfe(kb="KB5130000", description="Security Update", support_link="https://support.microsoft.com/kb/5130000")
    assert _changes(qfes=(new,)) == {
        "Updates": [("KB5120241", "Security Update", None), ("KB5130000", None, "Security Update")],
    }


def test_container_image_is_one_change_under_its_tag() -> None:
    images = images_of("mcr.microsoft.com/oss/pause:3.10", digest="9" * 64, config="8" * 64)
    assert _changes(container_images=images) == {
        "Container images": [("mcr.microsoft.com/oss/pause:3.10", f"sha256:{'d' * 64}", f"sha256:{'9' * 64}")]
    }


def test_repository_that_moved_to_another_tag_is_one_change() -> None:
    images = images_of("mcr.microsoft.com/oss/pause:3.11", digest="9" * 64, config="8" * 64)
    assert _changes(container_images=images) == {"Container images": [("mcr.microsoft.com/oss/pause", "3.10", "3.11")]}


def test_every_part_of_an_image_is_compared() -> None:
    found = _changes(
        os=OLD.os.model_copy(update={"ubr": 5600}),
        features=OLD.features[1:],
        capabilities=OLD.capabilities[:1],
        runtime=None,
        cached_files=(CachedFile(path=r"c:\akse-cache\csi-proxy\csi-proxy.tar.gz", sha256="b" * 64, size_bytes=7539942),),
        tools=(CachedFile(path=r"C:\aks-tools\oras.exe", sha256="c" * 64, size_bytes=1),),
        registry=OLD.registry[:-1],
        services=(*OLD.services[:1], Service(name="WinRM", start_mode="Auto", state="Running")),
    )
    assert list(found) == [
        "Windows",
        "Features",
        "Capabilities",
        "Container runtime",
        "Cached files",
        "Tools",
        "Registry settings",
        "Services",
    ]
    assert found["Windows"] == [("Version", "20348.5499", "20348.5600")]
    assert found["Features"] == [("Containers", "installed", None)]
    assert ("Container runtime", "v1.7.20+azure", None) in found["Container runtime"]
    assert found["Services"] == [("WinRM", "Auto (Delayed)", "Auto")]
    assert found["Registry settings"] == [(r"HKLM:\SYSTEM\CurrentControlSet\Services\hns\State\B", "one two", None)]


def test_other_case_other_states_and_newer_signatures_are_no_change() -> None:
    files = tuple(file.model_copy(update={"path": file.path.upper()}) for file in OLD.cached_files)
    stopped = tuple(service.model_copy(update={"state": ""}) for service in OLD.services)
    assert _changes(cached_files=files, services=stopped, defender=None, free_bytes=99, vhd_id="other") == {}


def test_digests_that_differ_at_their_end_only_are_a_change() -> None:
    files = (OLD.cached_files[0].model_copy(update={"sha256": "a" * 63 + "b"}),)
    assert list(_changes(cached_files=files)) == ["Cached files"]


def test_markdown_lists_the_changes_with_digests_cut_short() -> None:
    images = images_of("mcr.microsoft.com/oss/pause:3.10", digest="9" * 64, config="8" * 64)
    assert _section(small_inventory(qfes=(), container_images=images)) == [
        "Updates:",
        "- removed `KB5120241` (Security Update)",
        "Container images:",
        "- changed `mcr.microsoft.com/oss/pause:3.10`: sha256:dddddddddddd… → sha256:999999999999…",
    ]


def test_markdown_says_so_when_nothing_changed() -> None:
    assert _section(OLD) == ["Nothing that is listed here."]


def test_first_release_has_no_such_section() -> None:
    assert "What changed" not in render_markdown(facts_of(OLD))
