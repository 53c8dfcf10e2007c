"""`winvhd private`: validate a private fix, see what private work there is, and delete it before its expiry."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from pydantic import SecretStr
from rich.console import Console
from rich.table import Table

from flows.choices import CloudName
from flows.cli.checkpoints import age_text
from flows.cli.failure import reported
from flows.cli.services import services_for_build, stand_in_for_planning
from images.definition import E2ESuite
from images.private_fix import FixKind

if TYPE_CHECKING:
    from tasks.purge_private import PrivateWork, Purged

private_app = typer.Typer(help="Private Windows fixes, which nobody else may see.", no_args_is_help=True)

Profile = Annotated[CloudName, typer.Option(help="Which cloud: the stand-in on this machine, or Azure.")]
_REGISTRY = "a YAML list, each item with path, name, value and type, as below `registry` of a definition"
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


@private_app.command()
def source(name: Annotated[str, typer.Argument(help="What the block will be called: lower-case letters, digits, dashes.")]) -> None:
    """Keep the address of a private fix in Prefect, as a block of the type Private fix source. It is read from standard input."""
    console = Console(stderr=True)
    with reported(console):
        from images.errors import ConfigurationError
        from images.private_fix import is_block_name, sas_problem

        if not is_block_name(name):
            raise ConfigurationError(f"{name!r} is not a name for a block", hint="use lower-case letters, digits and dashes")
        typed = typer.prompt("URL with SAS", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.readline()
        url = SecretStr(typed.strip())
        problem = sas_problem(url.get_secret_value(), datetime.now(UTC))
        if problem:
            raise ConfigurationError(f"the URL can not be used: {problem}", hint="make a SAS for this one blob: read only, some hours")
        # Not "local": a block needs a Prefect server and no cloud.
        with services_for_build("azure") as wait_until_ready:
            from infra.prefect.private_fix_source import keep_private_fix_url

            wait_until_ready()
            keep_private_fix_url(name, url)
    typer.echo(f"kept as {name}")


@private_app.command()
def validate(
    image: Annotated[str, typer.Argument(help="Name of a definition in images/definitions, or a path.")],
    source: Annotated[str, typer.Option(help="Name of the block with the fix's address: winvhd private source.")],
    sha256: Annotated[str, typer.Option(help="SHA-256 of the fix, 64 hexadecimal digits.")],
    kind: Annotated[FixKind, typer.Option(help="What the fix is delivered as.")],
    argument: Annotated[list[str] | None, typer.Option(help="An argument of an exe; give the option once for each.")] = None,
    registry: Annotated[
        Path | None, typer.Option(metavar="FILE", help="YAML: registry values that switch the fix on, listed as in a definition.")
    ] = None,
    suite: Annotated[list[E2ESuite] | None, typer.Option(help="A test to run on both images; give the option once for each.")] = None,
    ttl_days: Annotated[int, typer.Option(min=1, max=30, help="Days after which everything about this is deleted.")] = 7,
    note: Annotated[str, typer.Option(help="What to remember. It is stored with the run, so name nothing private.")] = "",
    profile: Profile = "local",
    as_json: AsJson = False,
) -> None:
    """Build an image with and without a private fix, run the same tests on both, and say what the fix does."""
    console = Console(stderr=True)
    with reported(console, as_json=as_json):
        from images.loading import find_definition, load_definition
        from images.private_fix import checked_fix
        from infra.checkout import make_folder, output_folder

        # Before anything starts: what was typed wrong should not have to wait for a server.
        name = load_definition(find_definition(image)).name
        fix = checked_fix(
            # PowerShell's Get-FileHash writes capitals.
            sha256=sha256.lower(),
            kind=kind,
            block=source,
            arguments=argument or (),
            registry=_registry_of(registry) if registry else (),
        )
        make_folder(output_folder())
        console.print(f"validating {fix} on {name}, on the {'stand-in' if profile == 'local' else 'Azure'} cloud", highlight=False)
        with services_for_build(profile) as wait_until_ready:
            console.print("starting a Prefect server and what else the builds need …", highlight=False)
            from flows.choices import ImageChoice
            from flows.cli.display import make_display
            from flows.validate_private_fix import DEFAULT_SUITES, validate_private_fix
            from tasks.progress import listening

            wait_until_ready()
            with make_display(console) as display, listening(display):
                given = (fix.arguments, fix.registry, suite or DEFAULT_SUITES, ttl_days, note, profile)
                # A verdict is the name of the run's end, so the flow gives a state.
                state: Any = validate_private_fix(ImageChoice(image), source, fix.sha256, kind, *given, return_state=True)
                result = state.result()
        if as_json:
            sys.stdout.write(json.dumps(result, indent=2) + "\n")
        else:
            _print_verdict(result)


def _registry_of(file: Path) -> list[Any]:
    from images.errors import ConfigurationError

    try:
        listed = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"the registry values can not be read: {type(error).__name__}", where=str(file), hint=_REGISTRY) from None
    if not isinstance(listed, list):
        raise ConfigurationError("the file holds no list of registry values", where=str(file), hint=_REGISTRY)
    return listed


def _print_verdict(result: dict[str, Any]) -> None:
    typer.echo(f"\n{result['fix'].capitalize()}: {result['verdict']}")
    for reason in result["reasons"]:
        typer.echo(f"  {reason}")
    typer.echo("")
    _print_rows(
        ("SUITE", "CHECK", "BASELINE", "PATCHED", "CHANGE"),
        [[str(check[column]) for column in ("suite", "check", "baseline", "patched", "change")] for check in result["checks"]],
    )
    typer.echo("")
    for name, side in result["sides"].items():
        built, reused = (", ".join(side[key]) or "none" for key in ("layers_built", "layers_reused"))
        typer.echo(f"{name}: {side['seconds']:.0f} s, {side['vms']} VMs; layers built: {built}; reused: {reused}")
    typer.echo(f"logs and documents are in the storage container {result['container']} until {result['expires_at'][:10]}")


@private_app.command("list")
def list_work(profile: Profile = "local", as_json: AsJson = False) -> None:
    """Print all private work that is in the cloud or on this machine, soonest expiry first."""
    console = Console(stderr=True)
    with reported(console, as_json=as_json):
        from infra.azure.session import open_cloud
        from infra.profiles import load_profile
        from tasks.purge_private import private_work

        with stand_in_for_planning(profile), open_cloud(load_profile(profile)) as cloud:
            found = private_work(cloud)
        if as_json:
            sys.stdout.write(json.dumps([work.model_dump(mode="json") for work in found], indent=2) + "\n")
        else:
            _print_work(found)


def _print_work(found: Sequence[PrivateWork]) -> None:
    if not found:
        typer.echo("no private work")
        return
    now = datetime.now(UTC)
    _print_rows(
        ("SCOPE", "EXPIRES", "GROUPS", "LAYERS", "BLOBS", "MIB", "FOLDERS", "BUILDS"),
        [
            [
                work.scope,
                _expiry_text(work.expires_at, now),
                str(len(work.groups)),
                str(work.checkpoints),
                str(work.blobs),
                f"{work.size_bytes / (1 << 20):.0f}",
                str(len(work.folders)),
                ", ".join(work.running),
            ]
            for work in found
        ],
    )


def _expiry_text(expires_at: datetime | None, now: datetime) -> str:
    if expires_at is None:
        return "by its tags"
    return f"in {age_text(expires_at - now)}" if expires_at > now else "now due"


@private_app.command()
def purge(
    scopes: Annotated[list[str] | None, typer.Argument(metavar="[SCOPE...]", help="What to delete, as `private list` calls it.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Delete all private work.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask. Without a terminal nobody is asked.")] = False,
    profile: Profile = "local",
    as_json: AsJson = False,
) -> None:
    """Delete private work now: VMs, layers, images, documents, logs. A build that is at work in it fails."""
    if bool(scopes) == everything:
        raise typer.BadParameter("name what to delete, or give --all")
    console = Console(stderr=True)
    with reported(console, as_json=as_json):
        from images.errors import CancelledError
        from infra.azure.session import open_cloud
        from infra.profiles import load_profile
        from tasks.purge_private import known_scopes, private_work, purge_scope

        def say(text: str) -> None:
            console.print(text, markup=False, highlight=False, soft_wrap=True)

        with stand_in_for_planning(profile), open_cloud(load_profile(profile)) as cloud:
            found = private_work(cloud)
            wanted = known_scopes(found, scopes or [work.scope for work in found])
            for work in found:
                if work.scope in wanted and work.running:
                    say(f"at work in {work.scope}, or killed there: {', '.join(work.running)}")
            if wanted and not yes and sys.stdin.isatty() and not typer.confirm(f"delete {', '.join(wanted)} for good?", err=True):
                raise CancelledError("nothing was deleted", hint="private work goes by itself at its expiry")
            purged = [purge_scope(cloud, scope, say) for scope in wanted]
        if as_json:
            sys.stdout.write(json.dumps([one.model_dump(mode="json") for one in purged], indent=2) + "\n")
        else:
            _print_purged(purged, on_azure=profile == "azure")
    # The report is out: a refusal goes to standard error only, so that standard output stays one document.
    with reported(console):
        from tasks.purge_private import refuse_leftovers

        refuse_leftovers(purged)


def _print_purged(purged: Sequence[Purged], *, on_azure: bool) -> None:
    if not purged:
        typer.echo("no private work")
    for one in purged:
        typer.echo(f"{one.scope}: deleted {', '.join(one.deleted) or 'nothing'}")
        for problem in one.problems:
            typer.echo(f"  still there: {problem}")
    if on_azure and any("resource group" in text for one in purged for text in one.deleted):
        typer.echo("Azure goes on deleting the resource groups by itself; that takes minutes")


def _print_rows(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        numbers = title in {"GROUPS", "LAYERS", "BLOBS", "MIB", "FOLDERS"}
        table.add_column(title, no_wrap=numbers or title in {"SCOPE", "SUITE"}, justify="right" if numbers else "left")
    for row in rows:
        table.add_row(*row)
    Console(highlight=False, markup=False).print(table)
