"""`winvhd checkpoints`: which layers are kept in the cloud, and deleting those that nobody needs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from flows.choices import CloudName
from flows.cli.failure import reported
from flows.cli.services import stand_in_for_planning
from images.retention import KEPT_OF_EACH

if TYPE_CHECKING:
    from tasks.prune_checkpoints import JudgedCheckpoint

checkpoints_app = typer.Typer(help="Layers that are kept in the cloud, so that they are not built again.", no_args_is_help=True)

Profile = Annotated[CloudName, typer.Option(help="Which cloud: the stand-in on this machine, or Azure.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


@checkpoints_app.command("list")
def list_stored(profile: Profile = "local", as_json: AsJson = False) -> None:
    """Print every public checkpoint, the newest first, also those that are never used, with the reason."""
    console = Console(stderr=True)
    with reported(console, as_json=as_json):
        from infra.azure.session import open_cloud
        from infra.profiles import load_profile
        from tasks.prune_checkpoints import JudgedCheckpoint, judge_stored

        with stand_in_for_planning(profile), open_cloud(load_profile(profile)) as cloud:
            found = [JudgedCheckpoint.of(verdict, "kept", verdict.checkpoint.reason) for verdict in judge_stored(cloud)]
        if as_json:
            documents = [checkpoint.model_dump(mode="json", exclude={"action"}) for checkpoint in found]
            sys.stdout.write(json.dumps(documents, indent=2) + "\n")
        else:
            _print_table(found, with_action=False)


@checkpoints_app.command()
def prune(
    profile: Profile = "local",
    keep: Annotated[int, typer.Option(min=0, help="How many of each image and layer stay, the newest first.")] = KEPT_OF_EACH,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete public checkpoints that are broken, expired, or older than the newest; those that a build uses stay."""
    console = Console(stderr=True)
    with reported(console, as_json=as_json):
        from infra.azure.session import open_cloud
        from infra.profiles import load_profile
        from tasks.prune_checkpoints import prune_checkpoints

        with stand_in_for_planning(profile), open_cloud(load_profile(profile)) as cloud:
            report = prune_checkpoints(
                cloud, keep=keep, dry_run=dry_run, on_event=lambda text: console.print(text, markup=False, highlight=False, soft_wrap=True)
            )
        if as_json:
            sys.stdout.write(report.model_dump_json(indent=2) + "\n")
        else:
            _print_table(report.checkpoints, with_action=True)
    # The report is out: a refusal goes to standard error only, so that standard output stays one document.
    with reported(console):
        report.refuse_refusals()


def _print_table(checkpoints: Sequence[JudgedCheckpoint], *, with_action: bool) -> None:
    if not checkpoints:
        typer.echo("no checkpoints")
        return
    now = datetime.now(UTC)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("LAYER", "IMAGE", "FINGERPRINT", "AGE", "SCOPE", "GIB", "STATE", "", *(["ACTION"] if with_action else []), "WHY"):
        table.add_column(title, no_wrap=title != "WHY", justify="right" if title in {"AGE", "GIB"} else "left")
    for checkpoint in checkpoints:
        table.add_row(
            checkpoint.layer,
            checkpoint.image,
            checkpoint.fingerprint[:12],
            age_text(now - checkpoint.created_at) if checkpoint.created_at else "?",
            checkpoint.scope,
            str(checkpoint.size_gib),
            checkpoint.state,
            "in use" if checkpoint.in_use else "",
            *([checkpoint.action] if with_action else []),
            checkpoint.reason,
        )
    Console(highlight=False, markup=False).print(table)


def age_text(age: timedelta) -> str:
    """An age in its two largest units: 3 d 4 h, 4 h 20 min, 7 min."""
    minutes = max(0, int(age.total_seconds() // 60))
    hours, days = minutes // 60, minutes // (60 * 24)
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min"
