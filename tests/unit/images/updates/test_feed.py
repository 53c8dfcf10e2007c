"""An update knows its week, products are recognized strictly, and the untidy words of a feed become clean ones."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from images.updates.feed import UpdateKind, build_numbers
from images.updates.merging import merge_updates
from images.updates.products import dotnet_versions, is_dotnet, release_name, windows_build_of
from images.updates.supersedence import kb_number, replaced_by, superseded_kbs
from tests.unit.images.updates.samples import update

KBS = st.integers(100000, 99999999).map(lambda number: f"KB{number}")


@pytest.mark.parametrize(
    ("released", "week", "out_of_band"),
    [
        ("2026-08-11", "B", False),
        ("2026-08-13", "B", True),
        ("2026-08-18", "C", True),
        ("2026-08-25", "D", True),
        ("2026-08-04", "A", True),
    ],
)
def test_week_and_out_of_band_follow_from_the_day(released: str, week: str, out_of_band: bool) -> None:
    found = update("KB5120242", released, "20348.5499")
    assert (found.week, found.out_of_band, found.month) == (week, out_of_band, "2026-08")


def test_a_preview_is_never_out_of_band() -> None:
    assert not update("KB5120300", "2026-08-25", "20348.5540", "preview").out_of_band


def test_a_build_of_another_windows_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"17763\.1 is not of Windows build 20348"):
        update("KB5120242", "2026-08-11").model_validate(
            update("KB5120242", "2026-08-11").model_dump() | {"fixed_build": "17763.1"}, strict=False
        )


@given(st.tuples(st.integers(1, 99999), st.integers(1, 99999)), st.tuples(st.integers(1, 99999), st.integers(1, 99999)))
def test_builds_compare_as_numbers(one: tuple[int, int], other: tuple[int, int]) -> None:
    assert (build_numbers(f"{one[0]}.{one[1]}") < build_numbers(f"{other[0]}.{other[1]}")) == (one < other)


@pytest.mark.parametrize(
    ("product", "build"),
    [
        ("Windows Server 2019", 17763),
        ("Windows Server 2022 (Server Core installation)", 20348),
        ("Windows Server 2025", 26100),
        ("Windows Server 2022 for x64-based Systems", 20348),
        ("Microsoft .NET Framework 3.5 AND 4.8 on Windows Server 2022 (Server Core installation)", 20348),
        ("Windows Server 2022, 23H2 Edition (Server Core installation)", None),
        ("Windows Server 2022 Datacenter: Azure Edition", None),
        ("Windows Server 2016", None),
        ("Windows 10 Version 1809 for x64-based Systems", None),
        ("Microsoft Edge (Chromium-based)", None),
        ("", None),
    ],
)
def test_only_our_windows_servers_have_a_build(product: str, build: int | None) -> None:
    assert windows_build_of(product) == build


def test_dotnet_products_tell_their_versions() -> None:
    product = "Microsoft .NET Framework 3.5 AND 4.8.1 on Windows Server 2025"
    assert (is_dotnet(product), dotnet_versions(product)) == (True, frozenset({"3.5", "4.8.1"}))
    assert (is_dotnet("Windows Server 2025"), dotnet_versions("Windows Server 2025")) == (False, frozenset())
    assert (release_name(20348), release_name(14393)) == ("Windows Server 2022", "Windows build 14393")


@pytest.mark.parametrize(
    ("text", "kbs"),
    [
        (None, ()),
        ("", ()),
        ("5099001", ("KB5099001",)),
        ("KB5099001", ("KB5099001",)),
        ("5099001; 5099002", ("KB5099001", "KB5099002")),
        ("KB5099002,KB 5099001;;", ("KB5099001", "KB5099002")),
        ("5120242", ()),
        ("kb5120242, 5099001", ("KB5099001",)),
        ("Release Notes", ()),
        ("5099001 and 5099002", ("KB5099001", "KB5099002")),
        ("123", ()),
    ],
)
def test_supersedence_is_read_in_every_spelling(text: str | None, kbs: tuple[str, ...]) -> None:
    assert superseded_kbs(text, "KB5120242") == kbs


@given(st.text(max_size=60))
def test_any_text_of_supersedence_gives_only_kb_numbers(text: str) -> None:
    for kb in superseded_kbs(text, "KB5120242"):
        assert kb_number(kb) == kb
        assert kb != "KB5120242"


def test_a_chain_of_replacements_ends_with_its_newest() -> None:
    assert replaced_by({"KB300000": ["KB200000"], "KB200000": ["KB100000"], "KB400000": []}) == {
        "KB200000": "KB300000",
        "KB100000": "KB300000",
    }


@given(st.dictionaries(KBS, st.lists(KBS, max_size=3), max_size=8))
def test_replacements_never_point_at_what_is_replaced_itself(supersedes: dict[str, list[str]]) -> None:
    found = replaced_by(supersedes)
    direct = {old for newer, olds in supersedes.items() for old in olds if old != newer}
    for old, newer in found.items():
        assert old != newer
        assert newer in supersedes
        assert newer not in direct


def test_a_circle_of_replacements_replaces_nothing() -> None:
    assert replaced_by({"KB100000": ["KB200000"], "KB200000": ["KB100000"]}) == {}


def test_mentions_of_one_update_are_merged() -> None:
    first = update("KB5120242", "2026-08-11", "20348.5499", cves=("CVE-1",), supersedes=("KB5110000",))
    again = update("KB5120242", "2026-09-08", None, "other", cves=("CVE-2",), url="https://u.example/a.msu", sha256="a" * 64, size_bytes=3)
    (merged,) = merge_updates([again, first])
    assert (merged.released, merged.kind, merged.fixed_build) == (date(2026, 8, 11), UpdateKind.CUMULATIVE, "20348.5499")
    assert (merged.cves, merged.supersedes, merged.url, merged.sha256) == (
        ("CVE-1", "CVE-2"),
        ("KB5110000",),
        "https://u.example/a.msu",
        "a" * 64,
    )


def test_the_hash_of_one_file_is_never_put_beside_the_url_of_another() -> None:
    one = update("KB5120242", "2026-08-11", "20348.5499", url="https://u.example/a.msu")
    other = update("KB5120242", "2026-08-11", "20348.5499", url="https://u.example/b.msu", sha256="b" * 64)
    (merged,) = merge_updates([one, other])
    assert (merged.url, merged.sha256) == ("https://u.example/a.msu", None)


def test_what_says_checkpoint_knows_more_than_what_says_cumulative() -> None:
    ones = [update("KB9003580", "2026-10-13", "26100.33580", kind) for kind in ("cumulative", "checkpoint")]
    assert merge_updates(ones)[0].kind is merge_updates(ones[::-1])[0].kind is UpdateKind.CHECKPOINT


def test_one_kb_of_two_builds_stays_two_updates() -> None:
    found = merge_updates([update("KB5120705", "2026-08-11", windows_build=build, kind="dotnet") for build in (20348, 17763)])
    assert [each.windows_build for each in found] == [17763, 20348]
