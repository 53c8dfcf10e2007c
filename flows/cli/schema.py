"""`winvhd schema`: the JSON schema of image definitions."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from flows.cli.failure import reported
from images.errors import ConfigurationError
from infra.checkout import ROOT

PUBLISHED = ROOT / "images" / "schema" / "image-definition.schema.json"


def schema(
    check: Annotated[bool, typer.Option("--check", help="Compare with the published schema and check every definition.")] = False,
    write: Annotated[bool, typer.Option("--write", help="Write the published schema.")] = False,
) -> None:
    """Print the JSON schema of image definitions, for editors and other tools."""
    with reported(Console(stderr=True)):
        from images.loading import definition_names, find_definition, load_definition, render_schema

        text = render_schema()
        if write:
            PUBLISHED.write_text(text, encoding="utf-8")
        elif check:
            if PUBLISHED.read_text(encoding="utf-8") != text:
                raise ConfigurationError(f"{PUBLISHED.relative_to(ROOT)} is out of date", hint="run: winvhd schema --write")
            for name in definition_names():
                load_definition(find_definition(name))
        else:
            typer.echo(text, nl=False)
