"""The bill of materials, the Markdown notes, the publishing info and the facts behind all of them."""

from __future__ import annotations

import json

import pytest

from images.inventory import ContainerImage, Feature, RegistryValue
from images.notes.bom import render_bom
from images.notes.facts import human_size, image_version
from images.notes.markdown import render_markdown
from images.notes.publishing import render_publishing_info
from tests.unit.images.notes.parts import facts_of, images_of, small_inventory
from tests.unit.images.notes.published import BOM, NOTES, published_facts, text_of


def test_bill_is_the_published_one_when_the_image_is() -> None:
    published = json.loads(text_of(BOM))
    ours = json.loads(render_bom(published_facts(text_of(NOTES))))
    assert ours == published
    assert list(ours) == list(published)
    assert [list(entry) for entry in ours["imageBom"]] == [list(entry) for entry in published["imageBom"]]


def test_bill_has_one_entry_a_manifest_with_all_its_tags_and_the_config_it_is_known_by() -> None:
    core = "mcr.microsoft.com/windows/servercore"
    images = images_of(f"{core}:ltsc2022", f"{core}:10.0.20348.5499", digest="1" * 64, config="2" * 64)
    bill = json.loads(render_bom(facts_of(small_inventory(container_images=images))))
    assert (bill["sku"], bill["imageVersion"]) == ("windows-2022-containerd", "20348.5499.26081201")
    assert bill["imageBom"] == [
        {
            "id": f"sha256:{'1' * 64}",
            "repoTags": [f"{core}:10.0.20348.5499", f"{core}:ltsc2022"],
            "repoDigests": [f"sha256:{'2' * 64}"],
        }
    ]


def test_bill_knows_the_config_of_an_image_that_only_ctr_pulled() -> None:
    image = ContainerImage(name="r.example/a:1", digest=f"sha256:{'1' * 64}", config_digest=f"sha256:{'2' * 64}")
    bill = json.loads(render_bom(facts_of(small_inventory(container_images=(image,)))))
    assert bill["imageBom"][0]["repoDigests"] == [f"sha256:{'2' * 64}"]


def test_bill_of_an_image_without_container_images_is_empty() -> None:
    assert json.loads(render_bom(facts_of(small_inventory(container_images=()))))["imageBom"] == []


def _row(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(start))


def test_markdown_links_updates_and_counts_what_is_cached() -> None:
    text = render_markdown(facts_of(small_inventory(), description="for tests", trusted_launch=True))
    assert text.startswith("# windows-2022-containerd 20348.5499.26081201\n\nfor tests\n")
    assert _row(text, "| KB5120241") == "| KB5120241 | Security Update | <https://support.microsoft.com/kb/5120241> |"
    preview = render_markdown(facts_of(small_inventory(), previews=("KB5120241",)))
    assert "| KB5120241 | Security Update (preview) |" in _row(preview, "| KB5120241")
    assert "| Cached | 1 container images, 1 files (7.2 MiB) |" in text
    assert "Server Core, V2, Trusted Launch" in text
    assert "  - Role Administration Tools (`RSAT-Role-Tools`)" in text


def test_markdown_tables_survive_bars_line_breaks_and_lists() -> None:
    values = (
        RegistryValue(path="HKLM:\\A", name="Bar", type="String", value="a|b"),
        RegistryValue(path="HKLM:\\A", name="Lines", type="String", value="a\r\nb"),
        RegistryValue(path="HKLM:\\A", name="List", type="MultiString", value=["a", "b"]),
    )
    text = render_markdown(facts_of(small_inventory(registry=values)))
    assert _row(text, "| `HKLM:\\A\\Bar`") == "| `HKLM:\\A\\Bar` | a\\|b |"
    assert _row(text, "| `HKLM:\\A\\Lines`").split() == ["|", "`HKLM:\\A\\Lines`", "|", "a", "b", "|"]
    assert _row(text, "| `HKLM:\\A\\List`") == "| `HKLM:\\A\\List` | a b |"


def test_markdown_does_not_turn_names_into_html_entities() -> None:
    feature = Feature(name="A", display_name="Tools & 'more' <x>")
    assert "- Tools & 'more' <x> (`A`)" in render_markdown(facts_of(small_inventory(features=(feature,))))


def test_markdown_of_a_bare_image_says_none() -> None:
    bare = small_inventory(
        qfes=(), runtime=None, defender=None, capabilities=(), features=(), container_images=(), cached_files=(), excluded_udp_ports=()
    )
    text = render_markdown(facts_of(bare))
    assert "None beyond the base image." in text
    assert "| Container runtime | none |" in text
    assert "Capabilities: none\n" in text
    assert "Excluded UDP ports: none." in text
    assert "Defender" not in text


@pytest.mark.parametrize(("trusted", "wanted"), [(True, "TrustedLaunch"), (False, "Standard")])
def test_publishing_info_has_the_fields_of_the_release_pipeline_and_the_hash(trusted: bool, wanted: str) -> None:
    facts = facts_of(small_inventory(), trusted_launch=trusted, vhd_url="https://account.example/builds/b/image.vhd")
    info = json.loads(render_publishing_info(facts, sku="s", offer="o", vhd_sha256="f" * 64, vhd_size_bytes=1024))
    assert info == {
        "vhd_url": "https://account.example/builds/b/image.vhd",
        "os_name": "Windows",
        "sku_name": "s",
        "offer_name": "o",
        "hyperv_generation": "V2",
        "image_architecture": "x64",
        "image_version": "20348.5499.26081201",
        "security_type": wanted,
        "vhd_sha256": "f" * 64,
        "vhd_size_bytes": 1024,
    }


def test_image_versions_are_three_numbers_that_a_gallery_takes() -> None:
    version = image_version("26100.32522", "20991231", 99)
    assert version == "26100.32522.99123199"
    assert all(int(part) < 2**31 for part in version.split("."))


@pytest.mark.parametrize("count", [0, 100])
def test_a_day_has_two_digits_for_its_builds(count: int) -> None:
    with pytest.raises(ValueError, match="1 to 99"):
        image_version("20348.1", "20260812", count)


@pytest.mark.parametrize(
    ("size", "shown"), [(0, "0.0 B"), (1023, "1023.0 B"), (1024, "1.0 KiB"), (41943040, "40.0 MiB"), (5 * 2**40, "5120.0 GiB")]
)
def test_sizes_have_binary_units(size: int, shown: str) -> None:
    assert human_size(size) == shown
