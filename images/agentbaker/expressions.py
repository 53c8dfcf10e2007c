"""The few expressions that AgentBaker's URLs hold, expanded by a parser of our own: nothing of them is ever evaluated."""

from __future__ import annotations

import re
from collections.abc import Mapping

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SPLIT = re.compile(
    r"\$(?P<name>[A-Za-z_][A-Za-z0-9_]*)\.Split\((?P<quote>['\"])(?P<separator>[^'\"]+)(?P=quote)\)\[(?P<index>\d+)\]", re.IGNORECASE
)


class ExpressionError(ValueError):
    """A text holds an expression that is not one of the known ones."""


def expand(text: str, variables: Mapping[str, str]) -> str:
    """The text with `${name}` and `$($name.Split('x')[n])` replaced; names are compared without case, as PowerShell does.

    Raises ExpressionError for anything else that begins with a dollar sign.
    """
    known = {name.casefold(): value for name, value in variables.items()}
    result: list[str] = []
    rest = text
    while rest:
        before, dollar, rest = rest.partition("$")
        result.append(before)
        if not dollar:
            break
        body, rest = _enclosed(text, rest)
        result.append(_value(text, body, known))
    return "".join(result)


def _enclosed(text: str, rest: str) -> tuple[str, str]:
    """The expression after a dollar sign with its bracket, and what follows it."""
    pairs = {"{": "}", "(": ")"}
    if not rest or rest[0] not in pairs:
        raise ExpressionError(f"a lone $ in {text!r}")
    opening, closing = rest[0], pairs[rest[0]]
    depth = 0
    for index, letter in enumerate(rest):
        depth += (letter == opening) - (letter == closing)
        if depth == 0:
            return rest[: index + 1], rest[index + 1 :]
    raise ExpressionError(f"${rest} is not closed in {text!r}")


def _value(text: str, body: str, known: Mapping[str, str]) -> str:
    inner = body[1:-1].strip()
    if body[0] == "{" and _NAME.fullmatch(inner):
        return _variable(inner, known, text)
    split = _SPLIT.fullmatch(inner)
    if body[0] == "(" and split is not None:
        parts = _variable(split["name"], known, text).split(split["separator"])
        index = int(split["index"])
        if index >= len(parts):
            raise ExpressionError(f"${body}: there is no part {index} of {'-'.join(parts)!r}")
        return parts[index]
    raise ExpressionError(f"unknown expression ${body} in {text!r}")


def _variable(name: str, known: Mapping[str, str], text: str) -> str:
    try:
        return known[name.casefold()]
    except KeyError:
        raise ExpressionError(f"unknown variable ${{{name}}} in {text!r}") from None
