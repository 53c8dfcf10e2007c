"""The benchmark's scenarios: every one of them is a definition that loads, and differs where it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from images.loading import definition_digest, load_definition
from tests.bench.scenarios import Change, load_scenarios


def test_every_scenario_is_a_definition_that_loads(tmp_path: Path) -> None:
    files = load_scenarios().write(tmp_path)
    assert [name for name, paths in files.items() if len(paths) == 1] == ["cold", "unchanged", "package", "setting", "kb", "sysprep"]
    digests = {path: definition_digest(load_definition(path)) for paths in files.values() for path in paths}
    (cold,) = files["cold"]
    assert [name for name, paths in files.items() if digests[paths[0]] != digests[cold]] == ["package", "setting", "kb", "five"]
    assert len({digests[path] for path in files["five"]}) == 5


def test_a_change_sets_a_value_or_adds_one() -> None:
    content = {"packages": [{"url": "a"}, {"url": "b"}], "updates": []}
    Change(path="packages.-1", set={"url": "c"}).apply(content)
    Change(path="updates", add={"kb": "KB1"}).apply(content)
    assert content == {"packages": [{"url": "a"}, {"url": "c"}], "updates": [{"kb": "KB1"}]}


def test_a_change_that_does_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="either"):
        Change(path="packages")
