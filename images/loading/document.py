"""A YAML file read strictly: plain data, and for each place in it the line where a person finds it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import yaml
from pydantic import JsonValue

from images.errors import DefinitionError, Problem

Location: TypeAlias = tuple[str | int, ...]

MAX_BYTES: Final = 512 * 1024
MAX_NODES: Final = 50_000
"""Counted after aliases are followed, so that a few lines of aliases can not become gigabytes."""

# The scalars of YAML 1.2's core schema: 1.1 would read `no` as false, 010 as 8 and 1:30 as 90.
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?[0-9]+\.[0-9]*([eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+")
_PLAIN_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "timestamp", "value"))
_QUOTES_HINT = "backslashes are escapes inside double quotes: write Windows paths without quotes or in single quotes"
_SYNTAX_HINT = "check indentation, brackets and quotes in this line and the one before it"


@dataclass(frozen=True)
class Document:
    """A file's data; `problems` are the faults of form that did not prevent reading it."""

    file: str
    data: dict[str, JsonValue]
    lines: Mapping[Location, int]
    texts: Mapping[Location, str]
    """Unquoted scalars as they were written: 20348.10 is the number 20348.1, and its author meant the text."""
    problems: tuple[Problem, ...]

    def line(self, at: Location) -> int:
        """The line of a place, or of the nearest thing around it that is in the file."""
        while at and at not in self.lines:
            at = at[:-1]
        return self.lines.get(at, 1)

    def known(self, at: Location) -> Location:
        """The longest part of a place that is in the file."""
        while at and at not in self.lines:
            at = at[:-1]
        return at

    def problem(self, at: Location, message: str, hint: str = "") -> Problem:
        """A fault at a place of this file."""
        return Problem(self.file, self.line(at), spell(at), message, hint)


def spell(at: Location) -> str:
    """A place as a person would write it: packages[3].url."""
    text = ""
    for part in at:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def shown_path(path: Path) -> str:
    """The path as a person would type it: relative to the current folder when it is below it."""
    try:
        return path.resolve().relative_to(Path.cwd()).as_posix()
    except ValueError:
        return str(path)


def read_document(path: Path) -> Document:
    """Read a YAML file that holds one mapping; raises DefinitionError when it can not be read at all."""
    file = shown_path(path)
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise DefinitionError(
            [Problem(file, 0, "", f"can not be read: {error.strerror or error}", "the file must be readable for this user")]
        ) from error
    if len(raw) > MAX_BYTES:
        raise DefinitionError([Problem(file, 0, "", f"is larger than {MAX_BYTES // 1024} KiB", "a definition has some hundred lines")])
    try:
        root = yaml.compose(raw.decode("utf-8-sig"), Loader=yaml.SafeLoader)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DefinitionError([Problem(file, line, "", "is not UTF-8 text", "save the file with the encoding UTF-8")]) from error
    except RecursionError as error:
        raise DefinitionError(
            [Problem(file, 0, "", "is nested too deeply", "see `winvhd schema` for the shape of a definition")]
        ) from error
    except yaml.YAMLError as error:
        raise DefinitionError([_syntax_problem(file, error)]) from error
    if not isinstance(root, yaml.MappingNode):
        raise DefinitionError([Problem(file, 1, "", "is empty" if root is None else "must be a mapping of fields", "begin with `name: …`")])
    return _Reader(file).document(root)


def _syntax_problem(file: str, error: yaml.YAMLError) -> Problem:
    if isinstance(error, yaml.reader.ReaderError):
        return Problem(file, 0, "", f"not valid YAML: {error.reason}", "remove the control character")
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return Problem(file, 0, "", f"not valid YAML: {error}", _SYNTAX_HINT)
    what = error.problem or "the structure is broken"
    hint = _SYNTAX_HINT
    if "\\t" in what:
        hint = "indent with spaces, not with tabs"
    elif "unknown escape character" in what:
        hint = _QUOTES_HINT
    elif "expected a single document" in what or error.context == "expected a single document in the stream":
        return Problem(file, error.problem_mark.line + 1, "", "holds more than one document", "one file, one image: remove the `---`")
    elif "mapping values are not allowed" in what:
        hint = "put text that holds `: ` in quotes, or check the indentation"
    elif "undefined alias" in what:
        hint = "text that begins with `*` needs quotes"
    return Problem(file, error.problem_mark.line + 1, "", f"not valid YAML: {what}", hint)


class _Reader:
    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: dict[Location, int] = {(): 1}
        self.texts: dict[Location, str] = {}
        self.problems: list[Problem] = []
        self.nodes = 0
        self.open: set[int] = set()

    def document(self, root: yaml.MappingNode) -> Document:
        data = self.mapping(root, ())
        return Document(self.file, data, self.lines, self.texts, tuple(self.problems))

    def fault(self, node: yaml.Node, at: Location, message: str, hint: str = "") -> None:
        self.problems.append(Problem(self.file, node.start_mark.line + 1, spell(at), message, hint))

    def value(self, node: yaml.Node, at: Location) -> JsonValue:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise DefinitionError(
                [Problem(self.file, node.start_mark.line + 1, spell(at), f"holds more than {MAX_NODES} values", "do not nest aliases")]
            )
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node, at)
        if id(node) in self.open:
            raise DefinitionError(
                [Problem(self.file, node.start_mark.line + 1, spell(at), "an alias points at what it is part of", "write the value out")]
            )
        self.open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self.mapping(node, at)
            items: list[JsonValue] = []
            for index, item in enumerate(node.value):
                here = (*at, index)
                self.lines[here] = item.start_mark.line + 1
                items.append(self.value(item, here))
            return items
        finally:
            self.open.discard(id(node))

    def mapping(self, node: yaml.MappingNode, at: Location) -> dict[str, JsonValue]:
        self._refuse_tag(node, at, "tag:yaml.org,2002:map")
        result: dict[str, JsonValue] = {}
        for key, item in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self.fault(key, at, "a field's name must be text")
                continue
            name = str(key.value)
            if key.tag == "tag:yaml.org,2002:merge":
                self.fault(key, at, "merge keys (<<) are not supported", "write the fields out")
                continue
            here = (*at, name)
            if name in result:
                self.fault(key, here, f'field "{name}" is there twice', f"the first one is on line {self.lines[here]}")
                continue
            self.lines[here] = key.start_mark.line + 1
            result[name] = self.value(item, here)
        return result

    def scalar(self, node: yaml.ScalarNode, at: Location) -> JsonValue:
        text = str(node.value)
        if node.style is not None:
            if node.tag != "tag:yaml.org,2002:str":
                self._refuse_tag(node, at, "tag:yaml.org,2002:str")
            return self.printable(node, at, text)
        self.texts[at] = text
        if node.tag not in _PLAIN_TAGS:
            self._refuse_tag(node, at, "tag:yaml.org,2002:str")
            return text
        if text in {"", "~", "null", "Null", "NULL"}:
            return None
        if text in {"true", "True", "TRUE", "false", "False", "FALSE"}:
            return text.lower() == "true"
        if _INTEGER.fullmatch(text) and len(text) <= 40:
            return int(text, 16) if text.startswith("0x") else int(text)
        return float(text) if _FLOAT.fullmatch(text) and len(text) <= 40 else text

    def printable(self, node: yaml.ScalarNode, at: Location, text: str) -> str:
        """The text; "C:\\akse" and "C:\\tools" in double quotes are valid YAML for a bell and a tab, and never what was meant."""
        if node.style == '"' and any(letter < " " for letter in text):
            self.fault(node, at, "holds a control character", _QUOTES_HINT)
            return "".join(letter if letter >= " " else repr(letter)[1:-1] for letter in text)
        return text

    def _refuse_tag(self, node: yaml.Node, at: Location, expected: str) -> None:
        if node.tag != expected:
            self.fault(node, at, f"the tag {node.tag} is not allowed", "write plain text, numbers, lists and mappings only")
