"""`winvhd diff`: what is different between two images."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import typer
from rich.console import Console

from flows.choices import CloudName
from flows.cli.failure import reported

_DIFFERENT = 1


def diff(
    before: Annotated[str, typer.Argument(metavar="A", help="An inventory.json, a build's folder, published release notes, or a disk.")],
    after: Annotated[str, typer.Argument(metavar="B", help="What to compare it with.")],
    style: Annotated[Literal["text", "markdown", "json"], typer.Option("--format", help="How to print it.")] = "text",
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit with 1 when there are differences.")] = False,
    profile: Annotated[CloudName, typer.Option(help="Whose rights to read with, for a snapshot or a blob's URL without SAS.")] = "local",
) -> None:
    """Print what was added, removed and changed from one image to another."""
    console = Console(stderr=True)
    with reported(console):
        from images.diff.difference import compare_listings
        from images.diff.rendering import render_difference
        from tasks.describe_image import describe_image

        difference = compare_listings(describe_image(before, profile), describe_image(after, profile))
        sys.stdout.write(render_difference(difference, style))
    if exit_code and difference.count:
        raise typer.Exit(_DIFFERENT)
