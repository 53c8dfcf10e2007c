"""Facts read off a script's syntax tree."""

from __future__ import annotations

import pytest

from infra.guest.powershell_tree import parse

SCRIPT = r"""
#Requires -Version 5.1
param([Parameter(Mandatory = $true)][string]$RunId, $Loose)
function Get-Thing {
    param([int[]]$Code = @(0, 3010))
    foreach ($file in @($stageInput.files)) {
        Invoke-NativeCommand -FilePath "$env:SystemRoot\System32\wusa.exe" -ArgumentList @('/quiet', $file.path)
    }
}
$result = [ordered]@{ changed = $true; 'size_bytes' = $stageInput.nested.size_bytes }
Write-StageResult -Result ([ordered]@{ changed = $true; files = @(@{ path = 'x' }) })
Get-Thing @splat 3
& $Body
"""


def test_commands_hold_names_and_native_programs() -> None:
    assert parse(SCRIPT).commands == {"invoke-nativecommand", "wusa.exe", "write-stageresult", "get-thing"}


def test_input_fields_are_the_members_read_from_the_stage_input() -> None:
    script = parse(SCRIPT)
    assert script.input_fields == {"files", "nested"}
    assert script.members >= {"path", "size_bytes"}


def test_parameters_keep_their_types() -> None:
    script = parse(SCRIPT)
    assert [(parameter.name, parameter.type_name) for parameter in script.parameters] == [("RunId", "string"), ("Loose", "")]
    assert [(parameter.name, parameter.type_name) for parameter in script.inner_parameters] == [("Code", "int[]")]


def test_hashtables_have_bare_and_quoted_keys() -> None:
    assert ("changed", "size_bytes") in parse(SCRIPT).hashtables


def test_a_call_knows_its_tables_and_positional_arguments() -> None:
    calls = {call.name: call for call in parse(SCRIPT).calls}
    assert calls["Write-StageResult"].tables == (("changed", "files"), ("path",))
    assert calls["Get-Thing"].positional == 1
    assert (calls[""].operator, calls[""].target) == ("&", "variable")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("$x = 1\n$y = $x ? 1 : 2\n", 2),
        ("$x = $y ?? 1\n", 1),
        ("$x ??= 1\n", 1),
        ("$x = $y?.Name\n", 1),
        ("Get-Item -Path 'a' && Get-Item -Path 'b'\n", 1),
        ("Get-Item -Path 'a' || Get-Item -Path 'b'\n", 1),
        ("class Thing { }\n", 1),
        ("\nfunction {\n", 2),
        ("$x = @{ a = \n", 1),
    ],
)
def test_what_is_not_powershell_5_is_a_fault_with_its_line(text: str, line: int) -> None:
    assert line in {fault.line for fault in parse(text).faults}


@pytest.mark.parametrize("text", ["", "\0\0", "}" * 500, "(" * 500, "é" * 10])
def test_garbage_never_raises(text: str) -> None:
    parse(text)
