"""What a stage's script must be, checked on its syntax tree: `make check`, the tests and the stand-in's guest all ask here.

Nothing here runs PowerShell. `check_text` answers for one script, `python -m infra.guest.powershell_syntax` for the whole folder.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import get_args

from pydantic import BaseModel

from images.errors import Problem
from images.stages import STAGES
from images.stages.contract import StageContract
from infra.guest.powershell_tree import Call, Script, parse
from infra.guest.powershell_words import ALIASES, APPROVED_VERBS, WINDOWS_COMMANDS

__all__ = [
    "CONTRACTS",
    "HELPER_SCRIPTS",
    "SCRIPTS_FOLDER",
    "SELF_CONTAINED",
    "Script",
    "check_script",
    "check_text",
    "parse",
    "required_commands",
]

SCRIPTS_FOLDER = Path(__file__).with_name("scripts")
MODULE_NAME = "WinVhd.psm1"
CONTRACTS: Mapping[str, StageContract] = MappingProxyType({stage.script: stage for stage in STAGES.values()})
SELF_CONTAINED = frozenset({"Enable-BuildRemoting.ps1", "Receive-StagePackage.ps1", "Get-GuestLog.ps1"})
"""Scripts that run before the module is on the guest (or when nobody knows whether it is): they may not import it."""
HELPER_SCRIPTS = frozenset({"Invoke-StageTask.ps1", "Receive-StagePackage.ps1", "Get-GuestLog.ps1"})
"""Scripts of the link that are not stages: they have no input object, and no result model of their own."""

_COMMAND_NAME = re.compile(r"^[A-Z][A-Za-z]+-[A-Z][A-Za-z0-9]+$")
_FORBIDDEN = {
    "invoke-expression": "text must never become code",
    "write-host": "data goes through Write-StageResult and Write-StageProgress, everything else to the error stream",
    "start-process": "native programs run through Invoke-NativeCommand, which looks at their exit code",
    "add-type": "C# is compiled on the guest: write it in PowerShell",
}
_HELP_SECTIONS = (".SYNOPSIS", ".DESCRIPTION", ".NOTES")


@cache
def required_commands() -> Mapping[str, tuple[str, ...]]:
    """Script name -> the commands without which it can not do its job, from required_commands.json."""
    stored = json.loads(Path(__file__).with_name("required_commands.json").read_text(encoding="utf-8"))
    return MappingProxyType({name: tuple(entry["commands"]) for name, entry in stored.items()})


def models_of(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """The model and every model that its fields hold, each once."""
    seen: list[type[BaseModel]] = []
    waiting: list[object] = [model]
    while waiting:
        current = waiting.pop(0)
        if isinstance(current, type) and issubclass(current, BaseModel):
            if current not in seen:
                seen.append(current)
                waiting.extend(field.annotation for field in current.model_fields.values())
        else:
            waiting.extend(get_args(current))
    yield from seen


def check_script(path: Path, module_text: str) -> list[Problem]:
    """Every fault of a script file, against the stage contract that names it; empty when it is good."""
    return check_text(path.name, path.read_text(encoding="utf-8"), module_text, file=str(path))


def check_text(name: str, text: str, module_text: str, *, file: str = "") -> list[Problem]:
    """Every fault of the script `name` with this text; `file` is what the problems call it. Nothing is read from disk but the table."""
    script = parse(text)
    found: list[tuple[int, str, str]] = [*_language(script, text, is_module=name == MODULE_NAME)]
    own = {function.name.lower() for function in script.functions}
    offered = set() if name in SELF_CONTAINED else {function.name.lower() for function in parse(module_text).functions}
    found += _required(name, script, own | offered)
    if name == MODULE_NAME:
        return [Problem(file or name, line, "", message, hint) for line, message, hint in found]
    found += _frame(name, script)
    contract = CONTRACTS.get(name)
    if contract is not None:
        found += _input(name, script, contract)
        found += _result(script, contract)
    elif name not in HELPER_SCRIPTS:
        found.append((0, "no stage names this script", f"stages: {', '.join(sorted(CONTRACTS))}"))
    return [Problem(file or name, line, "", message, hint) for line, message, hint in found]


def _language(script: Script, text: str, *, is_module: bool) -> Iterator[tuple[int, str, str]]:
    for fault in script.faults:
        yield fault.line, fault.message, "the scripts run in Windows PowerShell 5.1"
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.isascii():
            yield number, "not ASCII", "Windows PowerShell reads a file without BOM in the machine's code page"
    if "input" in script.variables:
        yield 0, "$input is used", "powershell.exe then reads standard input itself, before the script can; use Read-StageInput"
    for parameter in (*script.parameters, *script.inner_parameters):
        if not parameter.type_name:
            yield parameter.line, f"parameter ${parameter.name} has no type", "write its type before it: [string]$Name"
    for function in script.functions:
        verb, dash, noun = function.name.partition("-")
        if verb not in APPROVED_VERBS or not dash or not noun:
            yield function.line, f"function {function.name} has no approved verb", "see Get-Verb"
    for call in script.calls:
        yield from _call(call, is_module=is_module)
    if not any(call.name == "Set-StrictMode" for call in script.calls):
        yield 0, "strict mode is not set", "Set-StrictMode -Version Latest"
    if ("$ErrorActionPreference", "'Stop'") not in script.assignments:
        yield 0, "errors do not stop the script", "$ErrorActionPreference = 'Stop'"


def _call(call: Call, *, is_module: bool) -> Iterator[tuple[int, str, str]]:
    lower = call.name.lower()
    if call.operator:
        if call.operator == "." or call.target in ("string", "word"):
            yield (
                call.line,
                f"{call.operator} invokes a {call.target}",
                "call functions by name; native programs through Invoke-NativeCommand",
            )
        elif not is_module and call.target != "variable":
            yield call.line, "& invokes a block in place", "make it a function"
        return
    if lower in ALIASES:
        yield call.line, f"alias {call.name}", "write the command's own name"
    elif lower == "add-type" and call.parameters == ("assemblyname",):
        pass
    elif lower in _FORBIDDEN:
        yield call.line, f"{call.name} is not allowed", _FORBIDDEN[lower]
    elif lower.endswith((".exe", ".cmd", ".bat")) or "\\" in lower:
        yield call.line, f"{call.name} is called directly", "Invoke-NativeCommand -FilePath … looks at its exit code"
    elif not _COMMAND_NAME.match(call.name):
        yield call.line, f"{call.name} is not a command name", "commands are Verb-Noun; ranges and the like go in parentheses"
    if call.positional:
        yield call.line, f"{call.name} gets arguments by position", "name every parameter"
    if lower == "foreach-object" and "parallel" in call.parameters:
        yield call.line, "ForEach-Object -Parallel came with PowerShell 7", "use Invoke-Parallel"


def _frame(name: str, script: Script) -> Iterator[tuple[int, str, str]]:
    help_text = next((comment for comment in script.comments if comment.startswith("<#")), "")
    for section in _HELP_SECTIONS:
        if section not in help_text:
            yield 0, f"comment-based help lacks {section}", "a <# … #> block at the top of the file"
    imports = any(call.name == "Import-Module" and "force" in call.parameters for call in script.calls)
    if name not in SELF_CONTAINED and not imports:
        yield 0, f"{MODULE_NAME} is not imported", "Import-Module -Name (Join-Path -Path $PSScriptRoot -ChildPath 'WinVhd.psm1') -Force"


def _required(name: str, script: Script, known: set[str]) -> Iterator[tuple[int, str, str]]:
    table = required_commands()
    if name not in table:
        yield 0, "required_commands.json does not name this script", "list the commands without which it can not do its job"
    for command in table.get(name, ()):
        if command.lower() not in script.commands:
            yield 0, f"{command} is not called", "the stage can not do its job without it"
    for call in script.calls:
        # What is misspelt would fail on the guest only, hours into a build.
        lower = call.name.lower()
        if _COMMAND_NAME.match(call.name) and lower not in known and lower not in WINDOWS_COMMANDS and lower not in _FORBIDDEN:
            yield (
                call.line,
                f"{call.name} is not defined",
                "neither a function of ours nor a known command of Windows (powershell_words.py)",
            )


def _input(name: str, script: Script, contract: StageContract) -> Iterator[tuple[int, str, str]]:
    top = set(contract.input.model_fields)
    if name in SELF_CONTAINED:
        declared = {parameter.name.lower() for parameter in script.parameters}
        for field in sorted(top):
            word = field.replace("_", "")
            if word not in declared or word not in script.variables:
                yield 0, f"input field {field} is no parameter", "Run Command hands its fields over as parameters"
        return
    for field in sorted(top - script.input_fields):
        yield 0, f"input field {field} is not read", f"$stageInput.{field}"
    for field in sorted(script.input_fields - top):
        yield 0, f"$stageInput.{field} is read, but the contract has no such field", f"fields: {', '.join(sorted(top)) or 'none'}"
    for model in models_of(contract.input):
        if model is not contract.input:
            for field in sorted(set(model.model_fields) - script.members):
                yield 0, f"field {field} of {model.__name__} is not read", "every input field has a purpose"


def _result(script: Script, contract: StageContract) -> Iterator[tuple[int, str, str]]:
    wanted = set(contract.result.model_fields)
    writers = [call for call in script.calls if call.name in ("Write-StageResult", "Write-RemotingResult")]
    if not writers:
        yield 0, "no result is written", "Write-StageResult -Result ([ordered]@{ changed = …; … })"
    for call in writers:
        keys = set(call.tables[0]) if call.tables else set()
        if keys != wanted:
            off = ", ".join([*(f"lacks {key}" for key in sorted(wanted - keys)), *(f"has {key}" for key in sorted(keys - wanted))])
            yield call.line, f"the result {off}", f"fields of {contract.result.__name__}: {', '.join(contract.result.model_fields)}"
    tables = [set(table) for table in script.hashtables]
    for model in models_of(contract.result):
        if model is not contract.result and set(model.model_fields) not in tables:
            yield 0, f"no hashtable has exactly the fields of {model.__name__}", f"fields: {', '.join(model.model_fields)}"


def check_folder(folder: Path = SCRIPTS_FOLDER) -> list[Problem]:
    """Every fault of every script in the folder, of the module, and every stage whose script is missing."""
    module = folder / MODULE_NAME
    module_text = module.read_text(encoding="utf-8")
    problems = check_script(module, module_text)
    for path in sorted(folder.glob("*.ps1")):
        problems += check_script(path, module_text)
    for name in sorted((set(CONTRACTS) | HELPER_SCRIPTS) - {path.name for path in folder.glob("*.ps1")}):
        problems.append(Problem(str(folder / name), 0, "", "the script is missing", "a stage names it"))
    return problems


def main() -> int:
    """Exit code 0 when every script is good; the faults, one a line, go to the error stream."""
    problems = check_folder()
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
