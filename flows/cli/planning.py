"""`winvhd plan`: what a build would do."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from flows.choices import CloudName
from flows.cli.failure import reported
from flows.cli.services import stand_in_for_planning

if TYPE_CHECKING:
    from images.plan import BuildPlan

_PIPE_WIDTH = 1_000
"""Columns where nobody looks at a terminal: a line is a line for grep."""


def plan(
    images: Annotated[
        list[str] | None, typer.Argument(metavar="IMAGE...", help="Names of definitions in images/definitions, or paths to them.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Plan every committed definition.")] = False,
    profile: Annotated[CloudName, typer.Option(help="Which cloud: the stand-in on this machine, or Azure.")] = "local",
    stages: Annotated[bool, typer.Option("--stages", help="Print each layer's stages and scripts; nothing is looked up.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object: the plan, its SHA-256, the expected minutes.")] = False,
) -> None:
    """Print what a build of one or several images would reuse and build, and why; nothing is built."""
    if everything == bool(images):
        raise typer.BadParameter("give the names of images, or --all")
    console = Console(stderr=True)
    with reported(console, as_json=as_json):
        from images.loading import definition_names
        from infra.azure.session import open_cloud
        from infra.profiles import load_profile
        from tasks.plan_images import image_sources, look_ahead, make_plans

        sources = image_sources(definition_names() if everything else images or ())
        with stand_in_for_planning(profile), open_cloud(load_profile(profile)) as cloud:
            plans = make_plans(cloud, sources)
            if stages:
                _print_stages(plans, as_json=as_json)
                return
            planned = look_ahead(cloud, plans)
        if as_json:
            from images.planning.report import outlook_json

            sys.stdout.write(json.dumps(outlook_json(planned.work, planned.expected), indent=2) + "\n")
            return
        from flows.cli.plan_tree import plan_lines

        terminal = Console(highlight=False)
        page = terminal if terminal.is_terminal else Console(highlight=False, width=_PIPE_WIDTH)
        for line in plan_lines(planned.work, planned.expected):
            page.print(line)


def _print_stages(plans: Sequence[BuildPlan], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps([made.model_dump(mode="json") for made in plans], indent=2) + "\n")
        return
    for made in plans:
        lines = [f"{made.image} from {made.base.urn} ({made.base.generation.value})"]
        for layer in made.layers:
            lines.append(f"  {layer.name.value:<10} {layer.fingerprint[:12]}")
            for stage in layer.stages:
                title = stage.contract.title or stage.stage
                lines.append(f"    {title:<24} {stage.contract.script}{'  then restart' if stage.restart_after else ''}")
        typer.echo("\n".join(lines))
