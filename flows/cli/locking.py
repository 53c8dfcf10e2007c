"""`winvhd lock`: resolve everything that definitions leave open, and say what moved."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from flows.choices import CloudName, FollowKind
from flows.cli.failure import reported
from flows.cli.services import stand_in_for_planning

if TYPE_CHECKING:
    from flows.cli.lock_report import LockReport


def lock(
    image: Annotated[list[str] | None, typer.Argument(help="Names of definitions in images/definitions, or paths to some.")] = None,
    profile: Annotated[CloudName, typer.Option(help="azure: the committed locks; local: the stand-in's, under out/.")] = "azure",
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit with 20 when something moved, with 21 when a file is not what it was.")
    ] = False,
    every: Annotated[bool, typer.Option("--all", help="All definitions in images/definitions.")] = False,
    accept: Annotated[
        list[str] | None,
        typer.Option(metavar="SHA256", help="A new hash that you checked, of a file that changed under its unchanged URL. Repeatable."),
    ] = None,
    feed: Annotated[
        str,
        typer.Option(metavar="msrc|FILE", help="Where definitions that follow updates find them: Microsoft's feed, or a file of yours."),
    ] = "msrc",
    follow: Annotated[
        FollowKind | None,
        typer.Option(help="Which updates the lock takes from there, whatever the definition follows. By default what the definition says."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what is different as JSON.")] = False,
) -> None:
    """Resolve definitions: exact base version, updates, hash and size of every file, digest of every container image.

    Prints what is different from the lock that is there. A file that changed under its unchanged URL is never written into a lock until you
    accept its new hash.
    """
    console = Console(stderr=True)
    with reported(console, as_json=as_json):
        names, hashes = tuple(image or ()), tuple(accept or ())
        report = _locked(console, names, profile, every=every, check=check, accept=hashes, feed=feed, follow=follow)
    sys.stdout.write(report.as_json() if as_json else report.as_text())
    # The report is out: what is wrong goes to standard error only, so that standard output stays one document.
    with reported(console):
        report.raise_worst()


def _locked(
    console: Console,
    images: tuple[str, ...],
    profile: CloudName,
    *,
    every: bool,
    check: bool,
    accept: tuple[str, ...],
    feed: str,
    follow: FollowKind | None,
) -> LockReport:
    """Refresh each definition's lock, and write it when it may be; an image that fails does not stop the others."""
    from datetime import UTC, datetime

    from flows.cli.lock_report import LockReport, asked_for, checked_hashes
    from images.definition import FollowedUpdates
    from images.errors import BuildError
    from images.loading import find_definition, load_definition
    from infra.azure.session import open_cloud
    from infra.profiles import load_profile
    from tasks.lock_file import write_lock
    from tasks.refresh_lock import refresh_lock, refuse_alarms
    from tasks.upstream import Upstream

    names = asked_for(images, every=every)
    hashes = checked_hashes(accept)
    definitions = [(file, load_definition(file)) for file in map(find_definition, names)]
    report = LockReport(check=check, accept=hashes, follow=follow)
    with stand_in_for_planning(profile), open_cloud(load_profile(profile)) as cloud:
        now, upstream = datetime.now(UTC), Upstream(cloud)
        for file, definition in definitions:
            try:
                refreshed = refresh_lock(
                    definition,
                    file,
                    cloud,
                    accept=hashes,
                    feed_source=feed,
                    as_of=now,
                    follow=None if follow is None else FollowedUpdates(follow),
                    upstream=upstream,
                    progress=lambda name, done, total: console.print(f"[{done}/{total}] {name}", markup=False),
                )
                report.add(refreshed)
                refuse_alarms(refreshed.difference)
                if not check and refreshed.old != refreshed.new:
                    write_lock(refreshed.new, refreshed.path)
                    report.wrote(refreshed)
            except BuildError as error:
                report.failed(definition.name, error)
    return report
