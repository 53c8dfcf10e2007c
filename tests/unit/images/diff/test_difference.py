"""What was added, removed and changed between two images, in a stable order."""

from __future__ import annotations

import json
from typing import Any

import pytest

from images.diff.difference import ImageDifference, compare_listings
from images.diff.listing import SECTIONS, listing_of_inventory, listing_of_notes
from images.diff.rendering import render_difference
from images.inventory import CachedFile, ContainerImage, Defender, Feature, Qfe, RegistryValue, Runtime, Service
from images.notes.text import render_text
from images.published.parser import parse_notes
from tests.unit.images.notes.parts import facts_of, small_inventory

BEFORE = small_inventory()


def _diff(**changes: Any) -> ImageDifference:
    return compare_listings(listing_of_inventory(BEFORE, "a"), listing_of_inventory(small_inventory(**changes), "b"))


def _image(name: str, digest: str, size_bytes: int = 10) -> ContainerImage:
    return ContainerImage(name=name, digest=f"sha256:{digest * 64}", size_bytes=size_bytes)


def test_image_has_no_difference_to_itself_nor_to_another_build_of_the_same() -> None:
    assert _diff(vhd_id="another", free_bytes=1).count == 0


CASES: list[tuple[dict[str, Any], str]] = [
    ({"os": BEFORE.os.model_copy(update={"ubr": 5500})}, "~ Version: 20348.5499 → 20348.5500"),
    ({"runtime": Runtime(name="containerd", version="v2", config_sha256="c" * 64)}, "~ Container runtime: v1.7.20+azure → v2"),
    (
        {"defender": Defender(platform_version="4.18.1", signature_version="2", signatures_updated="")},
        "~ Defender signatures: 1.457.1 → 2",
    ),
    ({"qfes": ()}, "- KB5120241 (Security Update)"),
    ({"qfes": (*BEFORE.qfes, Qfe(kb="KB6", description="Update", support_link=""))}, "+ KB6 (Update)"),
    ({"updates": ()}, "- 2026-08 Cumulative Update"),
    ({"features": (*BEFORE.features, Feature(name="Hyper-V", display_name="Hyper-V"))}, "+ Hyper-V"),
    ({"capabilities": BEFORE.capabilities[:1]}, "- OpenSSH.Server~~~~0.0.1.0"),
    ({"services": (Service(name="containerd", start_mode="Manual"), BEFORE.services[1])}, "~ containerd: start mode Auto → Manual"),
    (
        {"registry": (BEFORE.registry[0].model_copy(update={"value": 0}), *BEFORE.registry[1:])},
        "~ HKLM:\\SOFTWARE\\Policies\\Microsoft\\Windows\\WindowsUpdate\\AU\\NoAutoUpdate: data 1 → 0",
    ),
    ({"excluded_udp_ports": ()}, "~ Excluded UDP ports: 65330 → none"),
    (
        {"cached_files": (BEFORE.cached_files[0].model_copy(update={"sha256": "b" * 64, "size_bytes": 1}),)},
        "~ c:\\akse-cache\\csi-proxy\\csi-proxy.tar.gz: size in bytes 7539942 → 1, sha256 aaaaaaaaaaaa → bbbbbbbbbbbb",
    ),
    ({"tools": (CachedFile(path=r"c:\t\x.exe", sha256="b" * 64, size_bytes=5),)}, "+ c:\\t\\x.exe (5 bytes, bbbbbbbbbbbb)"),
    ({"scheduled_tasks": ()}, "- \\aks-expand-volume"),
]


@pytest.mark.parametrize(("changes", "wanted"), CASES, ids=[wanted for _, wanted in CASES])
def test_change_is_one_line(changes: dict[str, Any], wanted: str) -> None:
    difference = _diff(**changes)
    assert difference.count == 1
    assert f"  {wanted}\n" in render_difference(difference, "text")


def test_windows_names_agree_in_any_case() -> None:
    assert _diff(cached_files=tuple(file.model_copy(update={"path": file.path.upper()}) for file in BEFORE.cached_files)).count == 0


def test_tag_that_moved_to_another_digest_and_repository_that_moved_to_another_tag() -> None:
    left = small_inventory(container_images=(_image("r:5000/a:1", "1"), _image("r:5000/b:1", "2"), _image("r:5000/c:1", "3")))
    right = small_inventory(container_images=(_image("r:5000/a:1", "9"), _image("r:5000/b:2", "8"), _image("r:5000/d:1", "3")))
    found = compare_listings(listing_of_inventory(left, "a"), listing_of_inventory(right, "b"))
    text = render_difference(found, "text")
    assert "~ r:5000/a:1: digest sha256:111111111111 → sha256:999999999999\n" in text
    assert "~ r:5000/b: tag 1 → 2, digest sha256:222222222222 → sha256:888888888888\n" in text
    assert "- r:5000/c:1 (sha256:333333333333, 10.0 B)\n" in text
    assert "+ r:5000/d:1 (sha256:333333333333, 10.0 B)\n" in text


def test_several_tags_of_one_repository_are_added_and_removed_by_themselves() -> None:
    left = small_inventory(container_images=(_image("r/a:1", "1"), _image("r/a:2", "2")))
    right = small_inventory(container_images=(_image("r/a:3", "3"), _image("r/a:4", "4")))
    (section,) = compare_listings(listing_of_inventory(left, "a"), listing_of_inventory(right, "b")).sections
    assert ([item.name for item in section.removed], [item.name for item in section.added]) == (["r/a:1", "r/a:2"], ["r/a:3", "r/a:4"])


def test_inventory_and_its_own_release_notes_do_not_differ() -> None:
    long = Feature(name="NET-Framework-45-Features", display_name=".NET Framework 4.8 Features")
    inventory = small_inventory(features=(*BEFORE.features, long))
    notes = listing_of_notes(parse_notes(render_text(facts_of(inventory))), "notes")
    for found in (
        compare_listings(listing_of_inventory(inventory, "inventory"), notes),
        compare_listings(notes, listing_of_inventory(inventory, "inventory")),
    ):
        assert found.count == 0, render_difference(found, "text")
        assert found.not_compared == ("scheduled_tasks",)


def test_section_that_one_side_does_not_tell_is_named_and_not_compared() -> None:
    notes = listing_of_notes(parse_notes("Build Number: 1\nVHD ID: x\nSystem Info\n\tOS Version : 1.2\n"), "notes")
    found = compare_listings(notes, listing_of_inventory(BEFORE, "b"))
    assert set(found.not_compared) == set(SECTIONS) - {"system"}
    assert "not compared, one side does not tell: KBs (QFEs)" in render_difference(found, "text")


def test_files_that_were_not_hashed_are_compared_by_size() -> None:
    unhashed = tuple(file.model_copy(update={"sha256": ""}) for file in BEFORE.cached_files)
    assert _diff(cached_files=unhashed).count == 0


def test_other_order_of_the_same_things_gives_the_same_bytes_in_every_format() -> None:
    right = small_inventory(
        features=(), cached_files=tuple(CachedFile(path=f"c:\\{n}", sha256="1" * 64, size_bytes=n) for n in (3, 1, 2)), qfes=()
    )
    turned = right.model_copy(update={"cached_files": right.cached_files[::-1]})
    for style in ("text", "markdown", "json"):
        first, second = (
            render_difference(compare_listings(listing_of_inventory(BEFORE, "a"), listing_of_inventory(side, "b")), style)
            for side in (right, turned)
        )
        assert first == second


def test_json_holds_whole_digests_and_markdown_is_a_table() -> None:
    file = CachedFile(path=r"c:\a|b.zip", sha256="7" * 64, size_bytes=3)
    difference = _diff(cached_files=(file,), registry=(RegistryValue(path=r"HKLM:\A", name="x|y", type="s", value="1|2"),))
    content = json.loads(render_difference(difference, "json"))
    assert [section["section"] for section in content["sections"]] == ["registry", "cached_files"]
    assert content["sections"][1]["added"] == [{"name": r"c:\a|b.zip", "fields": {"size in bytes": "3", "sha256": "7" * 64}}]
    page = render_difference(difference, "markdown")
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert all(line.replace("\\|", "").count("|") == 4 for line in rows)
    assert "| added | `c:\\a\\|b.zip` | 3 bytes, 777777777777 |" in rows


def test_no_difference_is_said_in_words() -> None:
    assert "no differences" in render_difference(_diff(), "text")
    assert "No differences." in render_difference(_diff(), "markdown")
    assert json.loads(render_difference(_diff(), "json"))["sections"] == []
