"""`winvhd import`: make a definition from the files of another builder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flows.cli.failure import reported
from images.errors import ConfigurationError

import_app = typer.Typer(help="Make an image definition from another builder's files.", no_args_is_help=True)


@import_app.callback()
def importing() -> None:
    """Make an image definition from another builder's files."""


@import_app.command()
def agentbaker(
    components: Annotated[Path, typer.Option(help="AgentBaker's components.json.")],
    settings: Annotated[Path, typer.Option(help="AgentBaker's windows_settings.json.")],
    sku: Annotated[str, typer.Option(help="AgentBaker's Windows SKU, for example 2022-containerd.")],
    output: Annotated[Path | None, typer.Option(help="Write to this file; default: standard output.")] = None,
) -> None:
    """Write the definition of one of AgentBaker's Windows images."""
    with reported(Console(stderr=True)):
        from images.agentbaker import import_as_yaml

        text = import_as_yaml(components, settings, sku)
        if output is None:
            typer.echo(text, nl=False)
            return
        try:
            output.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"can not write {output}: {error.strerror}", hint="name another file with --output") from error
        typer.echo(f"wrote {output}", err=True)
