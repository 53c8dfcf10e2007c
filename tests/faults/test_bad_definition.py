"""A wrong definition costs a second, not a server: all of its errors at once, each with its line."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import yaml

from tests.faults.conftest import assert_clear, bare
from tests.standin_fixtures import SMALL


def test_every_error_is_shown_with_its_line_and_nothing_is_started(
    run_command: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    packages = [{"url": f"https://{host}.example.com/tool-v1.0.0.zip", "destination": "C:\\akse-cache\\"} for host in ("a", "b")]
    changes = bare("wrong", features=["Containers", "Contaners"], packages=packages)
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump({name: value for name, value in {**SMALL, **changes}.items() if value is not None}))
    lines = path.read_text().splitlines()
    feature = lines.index("- Contaners") + 1
    second = max(number for number, line in enumerate(lines, 1) if "destination" in line or "tool-v1.0.0.zip" in line)

    done = run_command("build", str(path), "--json")
    assert_clear(done, 3, f"wrong.yaml:{feature}: features[1]", "Containers", "wrong.yaml:", "packages[1]")
    assert json.loads(done.stdout)["exit_code"] == 3
    (duplicate,) = [line for line in done.stderr.splitlines() if ": packages[1]" in line]
    assert abs(int(duplicate.partition(".yaml:")[2].partition(":")[0]) - second) <= 1
    assert sorted(item.name for item in tmp_path.iterdir()) == ["wrong.yaml"]
