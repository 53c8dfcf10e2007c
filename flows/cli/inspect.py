"""`winvhd inspect`: what is on a disk, without starting it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from flows.choices import CloudName
from flows.cli.failure import reported

if TYPE_CHECKING:
    from infra.vhd.inspect import Inspection

_MIB = 2**20


def inspect(
    disk: Annotated[
        str, typer.Argument(metavar="DISK", help="A VHD or raw disk: a file, a blob's URL with or without SAS, a snapshot's id.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the inventory as one JSON object on standard output.")] = False,
    hash_files: Annotated[bool, typer.Option("--hash", help="Also read and hash all cached files and tools.")] = False,
    profile: Annotated[CloudName, typer.Option(help="Whose rights to read with, for a snapshot or a blob's URL without SAS.")] = "local",
) -> None:
    """Print what is on a disk: Windows, updates, features, services, container images, cached files."""
    console = Console(stderr=True)
    with reported(console, as_json=as_json):
        from images.notes.summary import render_summary
        from infra.vhd.inspect import inspect_reader
        from tasks.locate_disk import open_disk

        with open_disk(disk, profile) as opened:
            found = inspect_reader(opened.reader, hash_files=hash_files, require_footer=opened.require_footer)
        sys.stdout.write(found.inventory.model_dump_json(indent=2) + "\n" if as_json else render_summary(found.inventory))
        console.print(_cost(found, opened.shown), highlight=False, markup=False, soft_wrap=True)


def _cost(found: Inspection, shown: str) -> str:
    share = found.bytes_read / found.disk_bytes
    return (
        f"read {found.bytes_read / _MIB:.1f} of {found.disk_bytes / _MIB:.0f} MiB ({share:.2%}) of {shown}"
        f" with {found.requests} requests in {found.seconds:.1f} s"
    )
