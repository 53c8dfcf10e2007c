"""The scripts that run in Windows: all of them are good, and none of them can lose a part of its work without being refused."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from images.stages import STAGES
from infra.guest.package import build_package
from infra.guest.powershell_syntax import (
    CONTRACTS,
    HELPER_SCRIPTS,
    MODULE_NAME,
    SCRIPTS_FOLDER,
    SELF_CONTAINED,
    check_folder,
    check_script,
    check_text,
    models_of,
    required_commands,
)

PATHS = sorted(SCRIPTS_FOLDER.glob("*.ps1"))
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in PATHS}
MODULE = (SCRIPTS_FOLDER / MODULE_NAME).read_text(encoding="utf-8")
ALL = {**TEXTS, MODULE_NAME: MODULE}
COMMANDS = [(name, command) for name, commands in sorted(required_commands().items()) for command in commands]
INPUT_FIELDS = sorted(
    (stage.script, field)
    for stage in STAGES.values()
    if stage.script not in SELF_CONTAINED
    for model in models_of(stage.input)
    for field in model.model_fields
)
RESULT_FIELDS = sorted(
    {(stage.script, field) for stage in STAGES.values() for model in models_of(stage.result) for field in model.model_fields}
)


def messages(name: str, text: str) -> list[str]:
    return [problem.message for problem in check_text(name, text, MODULE)]


@pytest.mark.parametrize("path", [*PATHS, SCRIPTS_FOLDER / MODULE_NAME], ids=lambda path: path.name)
def test_script_is_good(path: Path) -> None:
    assert [str(problem) for problem in check_script(path, MODULE)] == []


def test_every_stage_has_its_script_and_nothing_else_is_there() -> None:
    assert {path.name for path in PATHS} == set(CONTRACTS) | HELPER_SCRIPTS
    assert set(required_commands()) == set(TEXTS) | {MODULE_NAME}


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_emptied_script_is_refused(name: str) -> None:
    assert messages(name, "") != []


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_script_cut_after_its_help_is_refused(name: str) -> None:
    head = TEXTS[name].split("$ProgressPreference", 1)[0]
    assert any("is not called" in message for message in messages(name, head))


@pytest.mark.parametrize(("name", "command"), COMMANDS)
def test_script_without_one_of_its_commands_is_refused(name: str, command: str) -> None:
    without = re.sub(rf"(?<![\w.-]){re.escape(command)}(?![\w-])", "Out-Nothing", ALL[name])
    assert f"{command} is not called" in messages(name, without)


@pytest.mark.parametrize(("name", "field"), INPUT_FIELDS)
def test_script_that_ignores_an_input_field_is_refused(name: str, field: str) -> None:
    without = re.sub(rf"\.{field}\b", ".other_field", TEXTS[name])
    assert any(field in message and "is not read" in message for message in messages(name, without))


@pytest.mark.parametrize(("name", "field"), RESULT_FIELDS)
def test_script_that_leaves_out_a_result_field_is_refused(name: str, field: str) -> None:
    without = re.sub(rf"(?<![\w$.-]){field}(\s*)=", r"other_field\1=", TEXTS[name])
    assert without != TEXTS[name]
    assert messages(name, without) != []


def test_script_that_calls_a_function_the_module_lost_is_refused() -> None:
    without = MODULE.replace("function Save-VerifiedFile", "function Save-OtherFile")
    found = [problem.message for problem in check_text("Save-CachedFile.ps1", TEXTS["Save-CachedFile.ps1"], without)]
    assert found == ["Save-VerifiedFile is not defined"]


def test_missing_script_is_a_problem(tmp_path: Path) -> None:
    shutil.copytree(SCRIPTS_FOLDER, tmp_path / "scripts")
    (tmp_path / "scripts" / "Set-Pagefile.ps1").unlink()
    assert [problem.message for problem in check_folder(tmp_path / "scripts")] == ["the script is missing"]


def test_receiver_fits_on_a_command_line_with_room_to_spare() -> None:
    assert len(" ".join(build_package().receive_command)) < 8000


def test_no_script_holds_a_secret_in_a_task_or_on_the_disk() -> None:
    start = TEXTS["Start-StageTask.ps1"]
    # The stage's input is mentioned once: where it goes into the pipe.
    assert start.count("$stageInput.input") == 1
    assert "WriteAllText" not in start
    assert "WriteAllBytes" not in start


@pytest.mark.skipif(shutil.which("pwsh") is None, reason="PowerShell 7 is not installed")
def test_powershell_itself_parses_every_script() -> None:
    command = (
        "$all = @(); foreach ($file in Get-ChildItem -Path $env:SCRIPTS -File) { $errors = $null;"
        "$null = [System.Management.Automation.Language.Parser]::ParseFile($file.FullName, [ref]$null, [ref]$errors);"
        "$all += $errors }; $all | ForEach-Object { [Console]::Error.WriteLine($_) }; exit $all.Count"
    )
    pwsh = shutil.which("pwsh") or "pwsh"
    done = subprocess.run(
        [pwsh, "-NoProfile", "-NonInteractive", "-Command", command],
        env={"SCRIPTS": str(SCRIPTS_FOLDER), "PATH": str(Path(pwsh).parent), "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
