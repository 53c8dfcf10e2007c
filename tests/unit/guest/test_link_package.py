"""The zip of the scripts and the command lines that start them."""

from __future__ import annotations

import base64
import io
import os
import zipfile
from pathlib import Path

import pytest

from images.errors import ConfigurationError
from infra.guest.package import MAX_COMMAND_CHARACTERS, build_package, encoded_command, file_command


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "Receive-StagePackage.ps1").write_text("$a = 1\n", encoding="utf-8")
    (tmp_path / "Get-Thing.ps1").write_text("'thing'\n", encoding="utf-8")
    (tmp_path / "Shared.psm1").write_text("# shared\n", encoding="utf-8")
    (tmp_path / "notes.txt").write_text("not a script", encoding="utf-8")
    return tmp_path


def test_package_holds_scripts_and_modules_only(folder: Path) -> None:
    package = build_package(folder)
    assert package.names == ("Get-Thing.ps1", "Receive-StagePackage.ps1", "Shared.psm1")
    with zipfile.ZipFile(io.BytesIO(package.data)) as archive:
        assert tuple(archive.namelist()) == package.names
        assert archive.read("Shared.psm1") == b"# shared\n"


def test_same_scripts_give_the_same_bytes(folder: Path) -> None:
    first = build_package(folder)
    os.utime(folder / "Get-Thing.ps1", (1, 1))
    (folder / "Get-Thing.ps1").chmod(0o755)
    assert build_package(folder) == first


def test_changed_script_changes_the_package(folder: Path) -> None:
    first = build_package(folder)
    (folder / "Shared.psm1").write_text("# other\n", encoding="utf-8")
    assert build_package(folder).sha256 != first.sha256


@pytest.mark.parametrize("missing", ["Receive-StagePackage.ps1", ""])
def test_incomplete_checkout_is_named(folder: Path, missing: str) -> None:
    (folder / missing).unlink() if missing else None
    with pytest.raises(ConfigurationError, match="missing"):
        build_package(folder if missing else folder / "nowhere")


def test_receiver_leaves_standard_input_to_the_script(folder: Path) -> None:
    command = build_package(folder).receive_command
    assert command[command.index("-InputFormat") + 1] == "None"
    assert base64.b64decode(command[-1]).decode("utf-16-le") == "$a = 1\n"


def test_help_and_comment_lines_do_not_travel_in_a_command_line() -> None:
    script = "#Requires -Version 5.1\n<#\n.SYNOPSIS\n#>\n  # why\n\n  $a = '# stays'\n<# one line #>\n"
    text = base64.b64decode(encoded_command(script, where="x.ps1")[-1]).decode("utf-16-le")
    assert text == "#Requires -Version 5.1\n$a = '# stays'\n"


def test_script_too_long_for_cmd_is_refused_before_it_is_sent() -> None:
    with pytest.raises(ConfigurationError, match=str(MAX_COMMAND_CHARACTERS)):
        encoded_command("$a = 1\n" * 1000, where="x.ps1")


def test_scripts_run_without_profile_and_without_questions() -> None:
    assert " ".join(file_command("Get-Thing.ps1", r"C:\winvhd")) == (
        r"powershell.exe -NoProfile -NonInteractive -ExecutionPolicy Bypass -File C:\winvhd\Get-Thing.ps1"
    )
