"""What a command line asks for: a script file, an encoded script, or something that this guest can not run."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

POWERSHELL = ("powershell.exe", "powershell")
MAX_SHELL_LINE_CHARACTERS = 8191
"""cmd.exe takes no longer line:
https://learn.microsoft.com/troubleshoot/windows-client/shell-experience/command-line-string-limitation"""
_SWITCHES = ("-noprofile", "-noninteractive", "-nologo")


@dataclass(frozen=True)
class ScriptFile:
    r"""powershell.exe -File C:\…\X.ps1."""

    path: str


@dataclass(frozen=True)
class EncodedScript:
    """powershell.exe -EncodedCommand."""

    text: str


@dataclass(frozen=True)
class Refused:
    """Anything else: what goes to the error stream, and the exit code."""

    message: str
    exit_code: int = 1


def split(line: str) -> list[str]:
    """The arguments of a Windows command line; quotes group, a backslash before a quote makes it literal."""
    arguments: list[str] = []
    current, quoted, started = "", False, False
    position = 0
    while position < len(line):
        character = line[position]
        if character == "\\" and line[position + 1 : position + 2] == '"':
            current, position, started = current + '"', position + 1, True
        elif character == '"':
            quoted, started = not quoted, True
        elif character in " \t" and not quoted:
            if started:
                arguments.append(current)
            current, started = "", False
        else:
            current, started = current + character, True
        position += 1
    return [*arguments, current] if started else arguments


def parse(line: str, *, through_cmd: bool) -> ScriptFile | EncodedScript | Refused:
    """What the line asks for."""
    if through_cmd and len(line) > MAX_SHELL_LINE_CHARACTERS:
        return Refused("The command line is too long.\r\n")
    arguments = split(line)
    program = arguments[0].rsplit("\\", 1)[-1].lower() if arguments else ""
    if program not in POWERSHELL:
        return Refused(f"'{program}' is not recognized as an internal or external command,\r\noperable program or batch file.\r\n")
    return _powershell(arguments[1:])


def _powershell(arguments: list[str]) -> ScriptFile | EncodedScript | Refused:
    position, bypass = 0, False
    while position < len(arguments):
        argument, following = arguments[position].lower(), arguments[position + 1 : position + 2]
        if argument in _SWITCHES:
            position += 1
        elif argument == "-executionpolicy" and following:
            bypass = following[0].lower() in ("bypass", "unrestricted")
            position += 2
        elif argument == "-inputformat" and following and following[0].lower() == "none":
            # Standard input is left to the script (see infra.guest.package.encoded_command).
            position += 2
        elif argument == "-file" and following and len(arguments) == position + 2:
            if not bypass:
                return Refused(_POLICY.format(following[0]))
            return ScriptFile(following[0])
        elif argument == "-encodedcommand" and following and len(arguments) == position + 2:
            return _encoded(following[0])
        else:
            return Refused(f"the stand-in guest runs powershell.exe with -File or -EncodedCommand only; not {arguments[position][:80]}\r\n")
    return Refused("the stand-in guest has no interactive PowerShell\r\n")


_POLICY = "File {0} cannot be loaded because running scripts is disabled on this system.\r\n"


def _encoded(text: str) -> EncodedScript | Refused:
    try:
        return EncodedScript(base64.b64decode(text, validate=True).decode("utf-16-le"))
    except (binascii.Error, UnicodeDecodeError):
        return Refused("Cannot process the command because the value specified with -EncodedCommand is not properly encoded.\r\n")
