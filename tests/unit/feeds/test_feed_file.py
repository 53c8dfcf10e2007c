"""A feed file: what it gives, and each of its mistakes with the line where it is."""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import pytest

from images.errors import DefinitionError
from images.updates.feed import FeedUpdate, UpdateKind
from infra.checkout import ROOT
from infra.feeds.feed_file import read_feed_file
from tests.unit.feeds.conftest import Microsoft

ENTRY: dict[str, Any] = {
    "kb": "KB5120242",
    "windows_build": 20348,
    "kind": "cumulative",
    "released": "2026-08-11",
    "fixed_build": "20348.5499",
}


def read(path: Path, text: str) -> tuple[FeedUpdate, ...]:
    path.write_text(text, encoding="utf-8")
    return read_feed_file(path)


def faults(path: Path, text: str) -> list[tuple[int, str, str]]:
    with pytest.raises(DefinitionError) as caught:
        read(path, text)
    assert all(problem.hint for problem in caught.value.problems)
    assert all(problem.file.endswith(path.name) for problem in caught.value.problems)
    return [(problem.line, problem.path, problem.message) for problem in caught.value.problems]


def test_the_documented_example_is_a_feed_file(feed_path: Path) -> None:
    documented = (ROOT / "docs" / "update-feed.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", documented, re.DOTALL)
    cumulative, preview = read(feed_path, example)
    assert (cumulative.kb, cumulative.fixed_build, cumulative.released, cumulative.week) == (
        "KB5120242",
        "20348.5499",
        date(2026, 8, 11),
        "B",
    )
    assert cumulative.url is not None
    assert (preview.kind, preview.week, preview.url) == (UpdateKind.PREVIEW, "D", None)
    for kind in UpdateKind:
        assert f"`{kind}`" in documented
    for field in FeedUpdate.model_fields:
        assert f"`{field}`" in documented


def test_json_will_do(tmp_path: Path) -> None:
    path = tmp_path / "feed.json"
    (found,) = read(path, json.dumps({"schema_version": 1, "updates": [ENTRY]}, indent=2))
    assert found.kb == "KB5120242"


def test_all_mistakes_are_told_with_their_lines(feed_path: Path) -> None:
    text = """schema_version: 1
updates:
  - kb: 5120242
    windows_build: 20348
    kind: cumulativ
    released: 2026-08-11
    fixed_build: "20348.5499"
  - kb: KB5120300
    windows_build: twenty
    kind: preview
    released: August
    sha: abc
  - windows_build: 20348
    kind: dotnet
    released: 2026-08-11
"""
    assert [(line, place) for line, place, _ in faults(feed_path, text)] == [
        (3, "updates[0].kb"),
        (5, "updates[0].kind"),
        (9, "updates[1].windows_build"),
        (11, "updates[1].released"),
        (12, "updates[1].sha"),
        (13, "updates[2].kb"),
    ]


def test_a_number_in_the_place_of_a_build_is_told_to_be_quoted(feed_path: Path) -> None:
    entry = "kb: KB5120242, windows_build: 20348, kind: cumulative, released: 2026-08-11, fixed_build: 20348.5490"
    text = f"schema_version: 1\nupdates:\n  - {{{entry}}}\n"
    with pytest.raises(DefinitionError) as caught:
        read(feed_path, text)
    assert caught.value.problems[0].hint == 'put it in quotes: "20348.5490"'


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fixed_build": "17763.1"}, "fixed_build 17763.1 is not of Windows build 20348"),
        ({"fixed_build": None}, "a cumulative update needs fixed_build"),
        ({"supersedes": ["KB5120242"]}, "KB5120242 can not replace itself"),
        ({"sha256": "a" * 64}, "a hash without url"),
    ],
)
def test_contradictions_are_mistakes(feed_path: Path, changes: dict[str, Any], message: str) -> None:
    entry = {name: value for name, value in (ENTRY | changes).items() if value is not None}
    ((line, _, told),) = faults(feed_path, json.dumps({"schema_version": 1, "updates": [entry]}))
    assert line == 1
    assert message in told


def test_an_update_that_is_there_twice_is_a_mistake_and_one_for_two_builds_is_none(feed_path: Path) -> None:
    twice = {"schema_version": 1, "updates": [ENTRY, ENTRY]}
    assert [message for _, _, message in faults(feed_path, json.dumps(twice))] == ["KB5120242 for 20348 is there twice"]
    dotnet = {"kb": "KB5120705", "kind": "dotnet", "released": "2026-08-11"}
    both = {"schema_version": 1, "updates": [dotnet | {"windows_build": 20348}, dotnet | {"windows_build": 17763}]}
    assert len(read(feed_path, json.dumps(both))) == 2


@pytest.mark.parametrize("text", ["", "- a list", "schema_version: 2\nupdates: []\n", "updates: []\n", "updates: [\n", "\tupdates:"])
def test_what_is_no_feed_file_is_told_so(feed_path: Path, text: str) -> None:
    assert faults(feed_path, text)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="can not be read"):
        read_feed_file(tmp_path / "no-such-feed.yaml")


def test_the_stand_ins_feed_file_is_one_and_has_previews(feed_path: Path, microsoft: Microsoft) -> None:
    microsoft.today.pretend(date(2026, 8, 26))
    found = read(feed_path, httpx.get(f"{microsoft.gateway}/.feed", timeout=60).text)
    assert max(update.released for update in found) == date(2026, 8, 25)
    previews = {(update.windows_build, update.month) for update in found if update.kind is UpdateKind.PREVIEW}
    assert {(20348, "2026-08"), (26100, "2026-08")} <= previews
    assert not {(20348, "2025-12"), (26100, "2025-12"), (20348, "2026-05")} & previews
    assert 17763 not in {build for build, _ in previews}
    assert [update.kb for update in found if update.kind is UpdateKind.CHECKPOINT] == ["KB5043080"]
    assert all(update.url and update.sha256 and update.size_bytes for update in found)
