"""A PowerShell script as facts: what it calls, reads, declares and answers. Read off the syntax tree, never off the text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import tree_sitter
import tree_sitter_pwsh

_LANGUAGE = tree_sitter.Language(tree_sitter_pwsh.language())
_STRINGS = ("verbatim_string_characters", "expandable_string_literal", "verbatim_here_string_characters", "expandable_here_string_literal")
_NEWER = {
    "ternary_expression": "the ternary operator",
    "null_coalesce_expression": "the operator ??",
    "class_statement": "a class",
    "enum_statement": "an enum",
}


@dataclass(frozen=True)
class Call:
    """One command in a script: `name` is empty when it is not a plain word; `operator` is `&`, `.` or empty."""

    name: str
    line: int
    operator: str
    target: str
    """Kind of what `&` or `.` invokes: variable, block, string or word."""
    parameters: tuple[str, ...]
    """Names of the given parameters, lower case, without the dash."""
    positional: int
    """Number of arguments that are not behind a parameter name."""
    file_path: str
    """Base name of a literal -FilePath, empty without one."""
    tables: tuple[tuple[str, ...], ...]
    """Keys of each hashtable literal among its arguments, the outer ones first."""


@dataclass(frozen=True)
class Parameter:
    """A declared parameter; `type_name` is empty when it has none."""

    name: str
    type_name: str
    line: int


@dataclass(frozen=True)
class Function:
    """A function that the script defines."""

    name: str
    line: int


@dataclass(frozen=True)
class SyntaxFault:
    """Something that Windows PowerShell 5.1 can not parse; `line` counts from 1."""

    line: int
    message: str


@dataclass(frozen=True)
class Script:
    """What a script's syntax tree says."""

    calls: tuple[Call, ...]
    functions: tuple[Function, ...]
    parameters: tuple[Parameter, ...]
    """Parameters of the script itself."""
    inner_parameters: tuple[Parameter, ...]
    """Parameters of its functions and script blocks."""
    input_fields: frozenset[str]
    """Members read from `$stageInput`."""
    members: frozenset[str]
    """Members read from anything."""
    variables: frozenset[str]
    """Names of all variables, lower case, without `$`."""
    hashtables: tuple[tuple[str, ...], ...]
    """Literal keys of every hashtable literal."""
    assignments: frozenset[tuple[str, str]]
    """(variable, text) of assignments, as written."""
    comments: tuple[str, ...]
    faults: tuple[SyntaxFault, ...]

    @property
    def commands(self) -> frozenset[str]:
        """Names of all commands and base names of all native programs handed to -FilePath, lower case."""
        names = {call.name.lower() for call in self.calls if call.name}
        return frozenset(names | {call.file_path.lower() for call in self.calls if call.file_path})


def _walk(node: tree_sitter.Node) -> Iterator[tree_sitter.Node]:
    yield node
    for child in node.children:
        yield from _walk(child)


def _text(node: tree_sitter.Node) -> str:
    return (node.text or b"").decode("utf-8", "replace").strip()


def _line(node: tree_sitter.Node) -> int:
    return node.start_point[0] + 1


def _string(node: tree_sitter.Node) -> str | None:
    found = next((inner for inner in _walk(node) if inner.type in _STRINGS), None)
    return None if found is None else _text(found).strip("'\"")


def _keys(table: tree_sitter.Node) -> tuple[str, ...]:
    names = []
    for body in (child for child in table.children if child.type == "hash_literal_body"):
        for entry in (child for child in body.children if child.type == "hash_entry"):
            key = next((child for child in entry.children if child.type == "key_expression"), None)
            if key is not None:
                names.append(_string(key) or _text(key))
    return tuple(names)


def _target(node: tree_sitter.Node) -> str:
    kinds = {inner.type for inner in _walk(node)}
    if kinds & {"parenthesized_expression", "sub_expression", "expandable_string_literal", "member_access", "element_access"}:
        return "string"
    if "script_block_expression" in kinds:
        return "block"
    return "variable" if "variable" in kinds else "word"


def _call(node: tree_sitter.Node) -> Call:
    name, operator, target = "", "", "word"
    parameters: list[str] = []
    positional, file_path, previous = 0, "", ""
    for child in node.children:
        if child.type == "command_name":
            name = _text(child)
        elif child.type == "command_invocation_operator":
            operator = _text(child)
        elif child.type == "command_name_expr":
            target = _target(child)
            name = _text(child) if target == "word" else ""
        elif child.type == "command_elements":
            for element in child.children:
                if element.type in ("command_argument_sep", "redirection"):
                    continue
                if element.type == "command_parameter":
                    previous = _text(element).lstrip("-").rstrip(":").lower()
                    parameters.append(previous)
                    continue
                if not previous and not _text(element).startswith("@"):
                    positional += 1
                if previous == "filepath":
                    file_path = (_string(element) or "").replace("/", "\\").rsplit("\\", 1)[-1]
                previous = ""
    tables = tuple(_keys(inner) for inner in _walk(node) if inner.type == "hash_literal_expression")
    return Call(name, _line(node), operator, target, tuple(parameters), positional, file_path, tables)


def _parameter(node: tree_sitter.Node) -> Parameter:
    name = next((_text(child).lstrip("$") for child in node.children if child.type == "variable"), "")
    attributes = (child for child in node.children if child.type == "attribute_list")
    literals = (inner for one in attributes for part in one.children for inner in part.children if inner.type == "type_literal")
    return Parameter(name, next((_text(literal)[1:-1] for literal in literals), ""), _line(node))


def _faults(node: tree_sitter.Node) -> Iterator[SyntaxFault]:
    if node.is_error:
        yield SyntaxFault(_line(node), f"not PowerShell: {_text(node)[:60]!r}")
        return
    if node.is_missing:
        yield SyntaxFault(_line(node), f"missing {node.type}")
    if node.type in _NEWER:
        yield SyntaxFault(_line(node), f"{_NEWER[node.type]} is not for these scripts: Windows PowerShell 5.1, functions only")
    if node.type == "assignment_operator" and _text(node) == "??=":
        yield SyntaxFault(_line(node), "the operator ??= came with PowerShell 7")
    if node.type in ("&&", "||"):
        yield SyntaxFault(_line(node), f"the operator {node.type} came with PowerShell 7")
    if node.type in ("?.", "?["):
        yield SyntaxFault(_line(node), f"the operator {node.type} came with PowerShell 7")
    for child in node.children:
        yield from _faults(child)


def _owner(node: tree_sitter.Node) -> str:
    current = node.parent
    while current is not None:
        if current.type in ("function_statement", "script_block_expression"):
            return current.type
        current = current.parent
    return "script"


@lru_cache(maxsize=256)
def parse(text: str) -> Script:
    """The facts of a script; a text that is no PowerShell 5.1 gives faults, never an exception."""
    root = tree_sitter.Parser(_LANGUAGE).parse(text.encode("utf-8")).root_node
    nodes = list(_walk(root))
    members, input_fields, assignments = set(), set(), set()
    for node in nodes:
        if node.type in ("member_access", "invocation_expression"):
            name = next((_text(child).lstrip(".") for child in node.children if child.type == "member_name"), "")
            members.add(name)
            if _text(node.children[0]).lower() == "$stageinput":
                input_fields.add(name)
        elif node.type == "assignment_expression":
            assignments.add((_text(node.children[0]), _text(node.children[-1])))
    declared = [(_owner(node), _parameter(node)) for node in nodes if node.type == "script_parameter"]
    return Script(
        calls=tuple(_call(node) for node in nodes if node.type == "command"),
        functions=tuple(
            Function(next(_text(child) for child in node.children if child.type == "function_name"), _line(node))
            for node in nodes
            if node.type == "function_statement" and any(child.type == "function_name" for child in node.children)
        ),
        parameters=tuple(parameter for owner, parameter in declared if owner == "script"),
        inner_parameters=tuple(parameter for owner, parameter in declared if owner != "script"),
        input_fields=frozenset(input_fields),
        members=frozenset(members),
        variables=frozenset(_text(node).lstrip("$@").strip("{}").lower() for node in nodes if node.type in ("variable", "braced_variable")),
        hashtables=tuple(_keys(node) for node in nodes if node.type == "hash_literal_expression"),
        assignments=frozenset(assignments),
        comments=tuple(_text(node) for node in nodes if node.type == "comment"),
        faults=tuple(_faults(root)),
    )
