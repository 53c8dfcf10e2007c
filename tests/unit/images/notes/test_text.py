"""release-notes.txt has the layout of the published notes."""

from __future__ import annotations

import pytest

from images.inventory import CachedFile, Feature, RegistryValue, Service
from images.notes.text import render_text
from images.published.parser import parse_notes
from tests.unit.images.notes.parts import facts_of, images_of, small_inventory
from tests.unit.images.notes.published import NOTES, published_facts, sections_of, text_of


def _section(name: str, **changes: object) -> list[str]:
    return sections_of(render_text(facts_of(small_inventory(**changes))))[name]


@pytest.mark.parametrize(
    "section",
    [
        "Build Number",
        "VHD ID",
        "System Info",
        "Allowed security",
        "Installed Features",
        "Installed Packages",
        "Installed QFEs",
        "Installed Updates",
        "ContainerD",
        "Images:",
        "Cached Files:",
    ],
)
def test_section_has_the_very_lines_of_the_published_notes(section: str) -> None:
    published = text_of(NOTES)
    wanted = sections_of(published)[section]
    assert len(wanted) >= 1
    assert sections_of(render_text(published_facts(published)))[section] == wanted


def test_an_optional_preview_is_marked_as_one_and_read_back_as_windows_calls_it() -> None:
    text = render_text(facts_of(small_inventory(), previews=("KB5120241",)))
    row = "\tKB5120241 : Security Update (preview) : https://support.microsoft.com/kb/5120241"
    assert sections_of(text)["Installed QFEs"][1] == row
    assert parse_notes(text).qfes == small_inventory().qfes


def test_registry_section_differs_from_the_published_one_only_in_keys_without_values() -> None:
    published = text_of(NOTES)
    wanted = sections_of(published)["Windows Update R"]
    # An inventory holds values; this key had none on that image.
    wanted.remove("\tHKLM:SOFTWARE\\Policies\\Microsoft\\Windows\\WindowsUpdate")
    assert sections_of(render_text(published_facts(published)))["Windows Update R"] == wanted


def test_sections_come_in_the_published_order_with_services_and_tools_added() -> None:
    published = text_of(NOTES)
    ours = list(sections_of(render_text(published_facts(published))))
    assert [name for name in ours if name not in {"Services", "Tools:"}] == list(sections_of(published))
    assert {"Services", "Tools:"} <= set(ours)


def test_blank_lines_around_the_feature_table_are_the_published_ones() -> None:
    published = text_of(NOTES)
    start, end = "Installed Features", "Installed Packages"
    wanted = published[published.index(start) : published.index(end)]
    notes = render_text(published_facts(published))
    assert notes[notes.index(start) : notes.index(end)] == wanted


def test_same_facts_give_the_same_bytes() -> None:
    facts = facts_of(small_inventory())
    assert render_text(facts) == render_text(facts.model_copy(deep=True))


def test_names_too_long_for_their_column_are_cut_and_the_next_column_stays_in_place() -> None:
    feature = Feature(name="NET-WCF-TCP-PortSharing45", display_name="Active Directory module for Windows PowerShell", depth=3)
    line = _section("Installed Features", features=(feature,))[-1]
    # What Get-WindowsFeature itself shows of this display name, three levels deep.
    assert line == "            [X] Active Directory module for Windows ... NET-WCF-TCP-PortShar...        Installed"


def test_services_show_start_mode_and_state_and_no_state_where_a_disk_tells_none() -> None:
    services = (Service(name="containerd", start_mode="Auto", state="Running"), Service(name="WinRM", start_mode="Auto (Delayed)"))
    assert _section("Services", services=services) == [
        "Services",
        "\tcontainerd : Auto           : Running",
        "\tWinRM      : Auto (Delayed)",
    ]


def test_registry_lists_are_shown_as_words_below_their_key() -> None:
    values = tuple(
        RegistryValue(path="HKLM:\\A", name=name, type=kind, value=value)
        for name, kind, value in (("One", "DWord", 1), ("Two", "MultiString", ["x", "y"]))
    )
    assert _section("Windows Update R", registry=values)[2:] == ["\tHKLM:\\A", "\t\tOne : 1", "\t\tTwo : x y"]


def test_image_without_a_runtime_and_without_anything_cached_still_has_every_section() -> None:
    empty = small_inventory(runtime=None, container_images=(), cached_files=(), services=(), qfes=(), registry=())
    sections = sections_of(render_text(facts_of(empty)))
    assert sections["ContainerD"] == ["ContainerD Info", "No container runtime"]
    assert sections["Images:"] == ["Images:", "REF TYPE DIGEST SIZE PLATFORMS LABELS"]
    assert sections["Services"] == ["Services"]


def test_files_at_the_top_of_a_cache_come_before_those_in_its_folders() -> None:
    paths = (r"c:\akse-cache\a\x.zip", r"c:\akse-cache\z.zip", r"c:\akse-cache\B\y.zip")
    files = tuple(CachedFile(path=path, sha256="a" * 64, size_bytes=1) for path in paths)
    shown = [line.split()[0] for line in _section("Cached Files:", cached_files=files)[3:]]
    assert shown == [r"c:\akse-cache\z.zip", r"c:\akse-cache\a\x.zip", r"c:\akse-cache\B\y.zip"]


def test_columns_grow_with_what_is_in_them() -> None:
    file = CachedFile(path=r"c:\x.zip", sha256="b" * 64, size_bytes=12345678901)
    header, _, row = _section("Cached Files:", cached_files=(file,))[1:]
    assert (len(header), row) == (len(row), rf"c:\x.zip {'B' * 64} 12345678901")
    images = images_of("r.example/a:1", digest="d" * 64, config="e" * 64, size_bytes=2 * 2**30)
    assert " 2.0 GiB linux/amd64,windows/amd64 io.cri-containerd.image=managed" in _section("Images:", container_images=images)[2]
