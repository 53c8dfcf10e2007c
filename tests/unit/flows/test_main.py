"""The command line: help, version and the exit codes of wrong input."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli.main import app
from images.errors import EXIT_CODES
from images.loading import render_schema
from infra.checkout import ROOT

COMMANDS = ("build", "checkpoints", "plan", "lock", "schema", "verify", "import", "private", "local", "version")


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("WINVHD_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("WINVHD_OUT", str(tmp_path / "out"))
    return CliRunner(env={"COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"})


def test_help_names_every_command_and_every_exit_code(runner: CliRunner) -> None:
    done = runner.invoke(app, ["--help"])
    assert done.exit_code == 0
    words = done.output.split()
    assert set(COMMANDS) <= set(words)
    for code, kind in EXIT_CODES.items():
        assert f"{code}: {kind.title}" in done.output


@pytest.mark.parametrize(
    "command",
    [
        *COMMANDS,
        "import agentbaker",
        "checkpoints list",
        "checkpoints prune",
        "private source",
        "private validate",
        "private list",
        "private purge",
        "local up",
        "local down",
        "local status",
    ],
)
def test_every_command_explains_itself(runner: CliRunner, command: str) -> None:
    done = runner.invoke(app, [*command.split(), "--help"])
    assert done.exit_code == 0
    assert "Usage:" in done.output


@pytest.mark.parametrize("arguments", [["bulid"], ["build"], ["build", "x", "--profile", "gcp"], ["local", "up", "--port", "0"], []])
def test_wrong_usage_is_2(runner: CliRunner, arguments: list[str]) -> None:
    assert runner.invoke(app, arguments).exit_code == 2


def test_version_is_the_packages(runner: CliRunner) -> None:
    assert runner.invoke(app, ["version"]).output == f"winvhd {importlib.metadata.version('winvhd')}\n"
    names = [line.split()[0] for line in runner.invoke(app, ["version", "--all"]).output.splitlines()]
    assert {"winvhd", "prefect", "azure-mgmt-compute", "pywinrm"} <= set(names)


def test_an_unknown_image_is_an_error_of_the_definition_before_anything_starts(runner: CliRunner, tmp_path: Path) -> None:
    for command in ("build", "plan", "lock"):
        done = runner.invoke(app, [command, "windows-2022-containrd"])
        assert done.exit_code == 3
        assert "windows-2022-containerd" in done.stderr
        assert done.stdout == ""
    assert not (tmp_path / "state").exists()


def test_a_wrong_definition_is_shown_with_its_line_and_as_json(runner: CliRunner, tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text("name: wrong\nfeatures: [Contaners]\n")
    done = runner.invoke(app, ["build", str(path), "--json"])
    assert done.exit_code == 3
    assert "wrong.yaml:2" in done.stderr
    assert json.loads(done.stdout)["exit_code"] == 3


def test_published_schema_and_committed_definitions_are_in_order(runner: CliRunner) -> None:
    done = runner.invoke(app, ["schema", "--check"])
    assert done.exit_code == 0, done.output


def test_schema_prints_the_published_schema(runner: CliRunner) -> None:
    assert runner.invoke(app, ["schema"]).output == render_schema()


def test_import_names_the_file_that_is_not_there(runner: CliRunner, tmp_path: Path) -> None:
    done = runner.invoke(app, ["import", "agentbaker", "--components", "none.json", "--settings", "none.json", "--sku", "2022-containerd"])
    assert done.exit_code in EXIT_CODES
    assert "none.json" in done.stderr


def test_status_where_nothing_is_up_is_1(runner: CliRunner) -> None:
    done = runner.invoke(app, ["local", "status"])
    assert done.exit_code == 1
    assert done.output.count("not running") == 3


def test_a_damaged_record_of_what_is_up_means_nothing_is_up(runner: CliRunner, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "up.json").write_text('{"pids": {"server": 0, "worker": -1}, "api_url": "x"}')
    assert runner.invoke(app, ["local", "status"]).exit_code == 1
    done = runner.invoke(app, ["local", "down"])
    assert (done.exit_code, "nothing was up" in done.stderr) == (0, True)


def test_the_command_line_starts_without_importing_the_sdks_or_prefect() -> None:
    # Prefect reads its settings when it is first imported: too early, and a build would get a hidden server instead of the one it started.
    program = "import sys, flows.cli.main; print([name for name in sys.modules if name.startswith(('azure.', 'prefect'))])"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
