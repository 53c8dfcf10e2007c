"""The expressions in AgentBaker's URLs."""

from __future__ import annotations

import pytest

from images.agentbaker.expressions import ExpressionError, expand

VARIABLES = {"version": "1.32.11-1", "CPU_ARCH": "amd64"}


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("https://x/v${version}/a_${version}.zip", "https://x/v1.32.11-1/a_1.32.11-1.zip"),
        ("r/package:${Version}-${cpu_arch}", "r/package:1.32.11-1-amd64"),
        ("https://x/$($version.Split('-')[0])/amd64", "https://x/1.32.11/amd64"),
        ("$($VERSION.split('.')[1])", "32"),
        ("$( $version.Split('-')[1] )", "1"),
        ("no expression", "no expression"),
        ("", ""),
    ],
)
def test_known_expressions_are_expanded(text: str, expanded: str) -> None:
    assert expand(text, VARIABLES) == expanded


@pytest.mark.parametrize(
    "text",
    [
        "${other}",
        "$version",
        "cost: 5$",
        "${version",
        "$(version)",
        "$($version.Split('-')[9])",
        "$($version.Replace('-', '.'))",
        "$(Remove-Item C:\\ -Recurse)",
        "$($version.Split('-')[0]; calc.exe)",
        "${version.Length}",
        "$()",
    ],
)
def test_anything_else_is_an_error_and_is_never_run(text: str) -> None:
    with pytest.raises(ExpressionError):
        expand(text, VARIABLES)


def test_a_value_is_not_expanded_again() -> None:
    assert expand("${version}", {"version": "${CPU_ARCH}", "CPU_ARCH": "amd64"}) == "${CPU_ARCH}"
