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
            _write(text)
        elif check:
            if _published() != text:
                raise ConfigurationError(f"{PUBLISHED} is missing or out of date", hint="run: winvhd schema --write")
            for name in definition_names():
                load_definition(find_definition(name))
        else:
            typer.echo(text, nl=False)


def _published() -> str | None:
    """The published schema, None when there is none; raises ConfigurationError when it can not be read."""
    try:
        return PUBLISHED.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigurationError(f"{PUBLISHED} can not be read: {error.strerror or error}", hint="run: winvhd schema --write") from error


def _write(text: str) -> None:
    """Publish a schema; raises ConfigurationError when it can not be written."""
    try:
        PUBLISHED.parent.mkdir(parents=True, exist_ok=True)
        PUBLISHED.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"{PUBLISHED} can not be written: {error.strerror or error}",
            hint="is the checkout writable for this user, and the disk not full?",
        ) from error
