"""Published release notes are read back: those of aks-engine, of AgentBaker, and our own."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from images.inventory import CachedFile, RegistryValue, Service
from images.notes.text import render_text
from images.published.notes import PublishedNotes, PublishedNotesError
from images.published.parser import looks_like_notes, parse_notes
from infra.checkout import ROOT
from tests.unit.images.notes.parts import facts_of, small_inventory

REFERENCE = ROOT.parent / "shared" / "reference"


def _published(name: str) -> PublishedNotes:
    path: Path = REFERENCE / name
    if not path.exists():
        pytest.skip(f"the published {path.name} is not beside this checkout")
    return parse_notes(path.read_text(encoding="utf-8-sig"))


def test_notes_of_aks_engine() -> None:
    notes = _published("aks-engine/release-notes-2019-containerd-17763.4252.230828.txt")
    assert (notes.repository, notes.os_version) == ("https://github.com/Azure/aks-engine", "17763.4252")
    assert notes.features is not None and len(notes.features) == 19
    assert [qfe.kb for qfe in notes.qfes or ()] == ["KB5022511", "KB5025229", "KB5023789"]
    assert notes.cached_files is not None and len(notes.cached_files) == 33
    largest = max(notes.cached_files, key=lambda file: file.size_bytes)
    assert (largest.path.rpartition("\\")[2], largest.size_bytes) == (
        "azure-vnet-cni-singletenancy-windows-amd64-v1.4.16.zip",
        83559906,
    )
    assert (notes.container_images, notes.services, notes.runtime_version, notes.tools) == (None, None, None, None)


def test_notes_of_agentbaker() -> None:
    notes = _published("agentbaker/release-notes-2022-containerd-20348.5499.260812.txt")
    assert (notes.repository, notes.os_version, notes.runtime_version) == (
        "https://github.com/Azure/AgentBaker",
        "20348.5499",
        "v1.6.35+azure",
    )
    assert notes.container_images is not None and notes.cached_files is not None and notes.registry is not None
    assert all(image.digest.startswith("sha256:") and "@" not in image.name for image in notes.container_images)
    assert len(notes.registry) == 72
    assert notes.registry[0].path == r"HKLM:\SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate\AU"


def test_our_own_notes_are_read_back_whole() -> None:
    inventory = small_inventory(tools=(CachedFile(path=r"c:\aks-tools\with a space.exe", sha256="b" * 64, size_bytes=3),))
    notes = parse_notes(render_text(facts_of(inventory)))
    assert notes.capabilities == inventory.capabilities
    assert notes.qfes == inventory.qfes
    assert notes.updates == inventory.updates
    assert (notes.cached_files, notes.tools) == (inventory.cached_files, inventory.tools)
    assert notes.features == inventory.features
    assert [(service.name, service.start_mode, service.state) for service in notes.services or ()] == [
        (service.name, service.start_mode, service.state) for service in inventory.services
    ]
    assert [(value.path, value.name, value.value) for value in notes.registry or ()][-1] == (
        r"HKLM:\SYSTEM\CurrentControlSet\Services\hns\State",
        "B",
        "one two",
    )
    assert [image.name for image in notes.container_images or ()] == ["mcr.microsoft.com/oss/pause:3.10"]
    assert notes.runtime_version == "v1.7.20+azure"


def test_empty_image_is_read_back_too() -> None:
    empty = small_inventory(
        runtime=None,
        container_images=(),
        cached_files=(),
        services=(),
        qfes=(),
        registry=(),
        features=(),
        updates=(),
        security_protocols="",
    )
    notes = parse_notes(render_text(facts_of(empty)))
    assert (notes.container_images, notes.cached_files, notes.services, notes.features) == ((), (), (), ())
    assert notes.runtime_version == ""


@pytest.mark.parametrize("value", [0, 4294967295, "", "with : colon", ["a", "b"]], ids=str)
def test_registry_values_keep_their_text(value: int | str | list[str]) -> None:
    inventory = small_inventory(registry=(RegistryValue(path=r"HKLM:\A\B", name="N", type="x", value=value),))
    (found,) = parse_notes(render_text(facts_of(inventory))).registry or ()
    assert found.value == (" ".join(value) if isinstance(value, list) else str(value))


def test_byte_order_mark_and_windows_line_ends_do_not_matter() -> None:
    text = render_text(facts_of(small_inventory()))
    assert parse_notes("\ufeff" + text.replace("\n", "\r\n")) == parse_notes(text)


@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        ("Cached Files:\n\n", "Cached Files:\n\nnonsense\n", "no row of a cached file"),
        ("Images:\n", "Images:\nx y z\n", "no row of a container image"),
        ("Installed QFEs\n", "Installed QFEs\n\tsomething\n", "no row of a QFE"),
        ("OS Version ", "OS Wersion ", "outside the known sections"),
        ("Services\n", "Services\n\tlonely\n", "no row of a service"),
    ],
)
def test_line_that_is_not_understood_is_named_with_its_number(before: str, after: str, wanted: str) -> None:
    text = render_text(facts_of(small_inventory())).replace(before, after, 1)
    with pytest.raises(PublishedNotesError, match=wanted) as caught:
        parse_notes(text)
    assert caught.value.where.startswith("line ")


@pytest.mark.parametrize("text", ["", "hello", '{"os": 1}', "\ufeff"])
def test_other_texts_are_refused(text: str) -> None:
    assert not looks_like_notes(text)
    with pytest.raises(PublishedNotesError):
        parse_notes(text)


TEXT = render_text(facts_of(small_inventory(services=(Service(name="a", start_mode="Auto"),))))


@given(st.integers(0, len(TEXT)), st.text(max_size=20))
@settings(max_examples=300, deadline=None)
def test_damaged_notes_are_a_typed_error_or_other_notes(at: int, inserted: str) -> None:
    for text in (TEXT[:at], TEXT[:at] + inserted + TEXT[at:]):
        try:
            parse_notes(text)
        except PublishedNotesError as error:
            assert str(error)
