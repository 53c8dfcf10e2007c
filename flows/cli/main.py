"""`winvhd`: the thin front of the flows."""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import sys
from typing import Annotated

import typer

from flows.cli.build import build
from flows.cli.checkpoints import checkpoints_app
from flows.cli.diff import diff
from flows.cli.importing import import_app
from flows.cli.inspect import inspect
from flows.cli.local import local_app
from flows.cli.locking import lock
from flows.cli.planning import plan
from flows.cli.private import private_app
from flows.cli.schema import schema
from flows.cli.services import prefect_is_gone
from flows.cli.verify import verify
from images.errors import EXIT_CODES

_CODES = "\n\n".join(f"{code}: {kind.title}" for code, kind in sorted(EXIT_CODES.items()))

app = typer.Typer(
    name="winvhd",
    help="Builds Windows node images (VHDs) for Kubernetes on Azure.",
    epilog=f"Exit codes: 0: done. 2: wrong usage.\n\n{_CODES}",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
    rich_markup_mode="rich",
)
app.command()(build)
app.command()(plan)
app.command()(lock)
app.command()(schema)
app.command()(inspect)
app.command()(diff)
app.command()(verify)
app.add_typer(import_app, name="import")
app.add_typer(checkpoints_app, name="checkpoints")
app.add_typer(private_app, name="private")
app.add_typer(local_app, name="local")


@app.command()
def version(numbers: Annotated[bool, typer.Option("--all", help="Also the versions of Prefect and of the Azure SDKs.")] = False) -> None:
    """Print the version."""
    typer.echo(f"winvhd {importlib.metadata.version('winvhd')}")
    if numbers:
        for name in ("prefect", "azure-identity", "azure-mgmt-compute", "azure-mgmt-network", "azure-storage-blob", "pywinrm"):
            typer.echo(f"{name} {importlib.metadata.version(name)}")


def main() -> None:
    """Entry point of the command."""
    _few_arenas()
    try:
        app()
    except SystemExit as ended:
        if prefect_is_gone.is_set():
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(ended.code if isinstance(ended.code, int) else int(ended.code is not None))
        raise


def _few_arenas() -> None:
    """Keep glibc from giving each thread memory of its own that it never returns; what MALLOC_ARENA_MAX does for a process not yet started.

    mallopt(3): M_ARENA_MAX is -8. Other C libraries have no such option, and need none.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(-8, 2)
