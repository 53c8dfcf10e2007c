"""What the checker refuses, one rule at a time, on small scripts."""

from __future__ import annotations

import pytest

from infra.guest.powershell_syntax import MODULE_NAME, SCRIPTS_FOLDER, check_text

MODULE = (SCRIPTS_FOLDER / MODULE_NAME).read_text(encoding="utf-8")
GOOD = (SCRIPTS_FOLDER / "Set-TextFile.ps1").read_text(encoding="utf-8")


def messages(text: str, name: str = "Set-TextFile.ps1") -> list[str]:
    return [problem.message for problem in check_text(name, text, MODULE)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Invoke-Expression -Command 'x'", "Invoke-Expression is not allowed"),
        ("iex 'x'", "alias iex"),
        ("Get-ChildItem -Path 'x' | % { $_ }", "alias %"),
        ("gci -Path 'x'", "alias gci"),
        ("Write-Host -Object 'x'", "Write-Host is not allowed"),
        ("Start-Process -FilePath 'x.exe'", "Start-Process is not allowed"),
        ("Add-Type -TypeDefinition 'x'", "Add-Type is not allowed"),
        ("wusa.exe /quiet", "wusa.exe is called directly"),
        (r"C:\Windows\System32\wusa.exe /quiet", r"C:\Windows\System32\wusa.exe is called directly"),
        ("netsh interface", "netsh is not a command name"),
        ("& 'wusa.exe'", "& invokes a word"),
        ('& "$x.exe"', "& invokes a string"),
        ("& ('wusa' + '.exe')", "& invokes a string"),
        (". .\\other.ps1", ". invokes a word"),
        ("Get-Item 'C:\\'", "Get-Item gets arguments by position"),
        ("ForEach-Object -Parallel { $_ }", "ForEach-Object -Parallel came with PowerShell 7"),
        ("function Frobnicate-Thing { param([int]$X) $X }", "function Frobnicate-Thing has no approved verb"),
        ("function Get-Thing { param($X) $X }", "parameter $X has no type"),
        ("$x = $input", "$input is used"),
        ("$x = $y ? 1 : 2", "the ternary operator is not for these scripts: Windows PowerShell 5.1, functions only"),
        ("$x = '\u00fc'", "not ASCII"),
        ("Write-StageNonsense -Message 'x'", "Write-StageNonsense is not defined"),
        ("$x = $stageInput.nonsense", "$stageInput.nonsense is read, but the contract has no such field"),
        ("Write-StageResult -Result @{ changed = $true }", "the result lacks reboot_required"),
        ("Write-StageResult -Result @{ changed = $true; reboot_required = $false; more = 1 }", "the result has more"),
        ("Write-StageResult -Result $result", "the result lacks changed, lacks reboot_required"),
    ],
)
def test_one_bad_line_is_refused(line: str, message: str) -> None:
    assert messages(GOOD) == []
    assert message in messages(f"{GOOD}\n{line}\n")


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("Set-StrictMode -Version Latest\n", "strict mode is not set"),
        ("$ErrorActionPreference = 'Stop'\n", "errors do not stop the script"),
        (".SYNOPSIS\n", "comment-based help lacks .SYNOPSIS"),
        (".DESCRIPTION\n", "comment-based help lacks .DESCRIPTION"),
        (".NOTES\n", "comment-based help lacks .NOTES"),
        ("Import-Module", "WinVhd.psm1 is not imported"),
    ],
)
def test_one_missing_part_is_refused(part: str, message: str) -> None:
    assert part in GOOD
    assert message in messages(GOOD.replace(part, ""))


def test_a_command_in_a_comment_or_a_string_does_not_count() -> None:
    text = GOOD.replace("Set-TextContent -Path", "Out-Null -InputObject 'Set-TextContent' # Set-TextContent\n    Out-File -FilePath")
    assert "Set-TextContent is not called" in messages(text)


def test_a_script_that_no_stage_names_is_refused() -> None:
    assert "no stage names this script" in messages(GOOD, "Set-Nonsense.ps1")


def test_problems_say_where() -> None:
    problem = check_text("Set-TextFile.ps1", GOOD + "gci\n", MODULE, file="scripts/Set-TextFile.ps1")[0]
    assert str(problem).startswith(f"scripts/Set-TextFile.ps1:{len(GOOD.splitlines()) + 1}: alias gci")
