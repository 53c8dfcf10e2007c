"""`winvhd plan`: what a build would do."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console

from flows.choices import CloudName
from flows.cli.failure import reported
from flows.cli.services import stand_in_for_planning


def plan(
    image: Annotated[str, typer.Argument(help="Name of a definition in images/definitions, or a path to one.")],
    profile: Annotated[CloudName, typer.Option(help="Whose lock to use: the stand-in's, made on the fly, or the committed one.")] = "local",
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole plan as JSON.")] = False,
) -> None:
    """Print the layers and stages of a build, in order; nothing is built."""
    console = Console(stderr=True)
    with reported(console, as_json=as_json):
        from images.loading import find_definition, load_definition, read_uploads
        from images.plan import make_plan
        from infra.azure.session import open_cloud
        from infra.guest.package import guest_scripts
        from infra.profiles import load_profile
        from tasks.resolve_lock import resolve_lock

        file = find_definition(image)
        definition = load_definition(file)
        with stand_in_for_planning(profile), open_cloud(load_profile(profile)) as cloud:
            lock = resolve_lock(definition, file, cloud)
        made = make_plan(definition, lock, scripts=guest_scripts(), uploads=read_uploads(definition))
        if as_json:
            sys.stdout.write(made.model_dump_json(indent=2) + "\n")
            return
        lines = [f"{made.image} from {made.base.urn} ({made.base.generation.value})"]
        for layer in made.layers:
            lines.append(f"  {layer.name.value:<10} {layer.fingerprint[:12]}")
            for stage in layer.stages:
                title = stage.contract.title or stage.stage
                lines.append(f"    {title:<24} {stage.contract.script}{'  then restart' if stage.restart_after else ''}")
        typer.echo("\n".join(lines))
