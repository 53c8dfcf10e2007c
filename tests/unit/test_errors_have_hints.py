"""Whoever meets an error reads what to do next: every error that the product makes has a hint."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.checkout import ROOT

ROOMS = ("flows", "tasks", "infra", "images")
STAND_IN = ROOT / "infra" / "local"
HINT_OF_PROBLEM = 4
"""Position of the hint among Problem's arguments."""
EXCEPTIONS = {
    "DefinitionError": "its problems hold the hints",
}
"""Errors that need no hint of their own, each with the reason."""


def _sources() -> Iterator[Path]:
    for room in ROOMS:
        yield from (path for path in sorted((ROOT / room).rglob("*.py")) if STAND_IN not in path.parents)


TREES = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in _sources()}


def _name(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def _sets_default_hint(kind: ast.ClassDef) -> bool:
    for statement in kind.body:
        match statement:
            case (
                ast.Assign(targets=[ast.Name(id="default_hint")], value=ast.Constant(value=str(text)))
                | ast.AnnAssign(target=ast.Name(id="default_hint"), value=ast.Constant(value=str(text)))
            ):
                return bool(text)
    return False


def _error_kinds() -> dict[str, bool]:
    """Every subclass of BuildError, and whether it (or what it derives from) has a default hint."""
    classes = [node for tree in TREES.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    kinds = {"BuildError": False}
    grown = True
    while grown:
        grown = False
        for node in classes:
            parents = [base for base in map(_name, node.bases) if base in kinds]
            if parents and node.name not in kinds:
                kinds[node.name] = _sets_default_hint(node) or any(kinds[base] for base in parents)
                grown = True
    return kinds


def _has_hint(call: ast.Call, position: int | None) -> bool:
    given = [keyword.value for keyword in call.keywords if keyword.arg == "hint"]
    if position is not None:
        given += call.args[position : position + 1]
    return any(not (isinstance(value, ast.Constant) and not value.value) for value in given)


def _without_hint(tree: ast.Module, kinds: dict[str, bool]) -> list[tuple[int, str]]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = _name(node.func)
            needs = name == "Problem" or (name in kinds and not kinds[name] and name not in EXCEPTIONS)
            if needs and not _has_hint(node, HINT_OF_PROBLEM if name == "Problem" else None):
                found.append((node.lineno, name))
    return found


KINDS = _error_kinds()


def test_every_error_and_problem_has_a_hint() -> None:
    assert len(KINDS) > 20
    assert [f"{file}:{line}: {name}" for file, tree in TREES.items() for line, name in _without_hint(tree, KINDS)] == []


def test_every_exception_is_still_an_error_without_a_default_hint() -> None:
    assert all(KINDS[name] is False for name in EXCEPTIONS)


@pytest.mark.parametrize(
    ("source", "faulty"),
    [
        ("raise CloudError('no')", True),
        ("raise errors.CloudError('no', hint='')", True),
        ("error = CloudError('no', code='x')", True),
        ("raise CloudError('no', hint='yes')", False),
        ("raise VhdNotFoundError('no')", False),
        ("Problem('f', 1, 'p', 'm')", True),
        ("Problem('f', 1, 'p', 'm', '')", True),
        ("Problem('f', 1, 'p', 'm', 'yes')", False),
        ("Problem('f', 1, 'p', 'm', hint='yes')", False),
        ("raise ValueError('no')", False),
    ],
)
def test_missing_hints_are_found(source: str, faulty: bool) -> None:
    assert bool(_without_hint(ast.parse(source), KINDS)) is faulty
