"""`winvhd diff` takes inventories, folders and notes, and tells by its exit code only when asked to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flows.cli.main import app
from images.errors import ConfigurationError
from images.notes.text import render_text
from tests.unit.images.notes.parts import facts_of, small_inventory


def _diff(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["diff", *map(str, arguments)])


@pytest.fixture
def builds(tmp_path: Path) -> tuple[Path, Path]:
    """Two builds' folders with documents; the second has lost a KB."""
    folders = []
    for name, inventory in (("one", small_inventory()), ("two", small_inventory(qfes=()))):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "inventory.json").write_text(inventory.model_dump_json(), encoding="utf-8")
        (folder / "release-notes.txt").write_text(render_text(facts_of(inventory)), encoding="utf-8-sig")
        folders.append(folder)
    return folders[0], folders[1]


def test_folders_inventories_and_notes_in_any_combination(builds: tuple[Path, Path]) -> None:
    one, two = builds
    for left in (one, one / "inventory.json", one / "release-notes.txt"):
        for right in (two, two / "inventory.json", two / "release-notes.txt"):
            outcome = _diff(left, right, "--format", "json")
            assert outcome.exit_code == 0, outcome.output
            (section,) = json.loads(outcome.stdout)["sections"]
            assert [item["name"] for item in section["removed"]] == ["KB5120241"]


def test_exit_code_tells_only_when_asked(builds: tuple[Path, Path]) -> None:
    one, two = builds
    assert _diff(one, two).exit_code == 0
    assert _diff(one, two, "--exit-code").exit_code == 1
    assert _diff(one, one, "--exit-code").exit_code == 0


@pytest.mark.parametrize("content", ["", "{}", "[1]", "hello", '{"os": 5}'])
def test_other_files_are_refused_with_a_typed_error(builds: tuple[Path, Path], tmp_path: Path, content: str) -> None:
    other = tmp_path / "other.json"
    other.write_text(content, encoding="utf-8")
    outcome = _diff(builds[0], other)
    assert outcome.exit_code == ConfigurationError.exit_code
    assert "neither an inventory nor release notes" in outcome.output.replace("\n", " ")
