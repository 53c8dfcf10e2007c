"""`winvhd lock`: resolve everything a definition leaves open."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from flows.choices import CloudName
from flows.cli.failure import reported
from flows.cli.services import stand_in_for_planning


def lock(
    image: Annotated[str, typer.Argument(help="Name of a definition in images/definitions, or a path to one.")],
    profile: Annotated[CloudName, typer.Option(help="azure: the committed lock; local: the stand-in's, under out/.")] = "azure",
) -> None:
    """Resolve a definition: exact base version, hash and size of every file, digest of every container image."""
    console = Console(stderr=True)
    with reported(console):
        from images.loading import find_definition, load_definition
        from images.lock import LockOrigin
        from infra.azure.session import open_cloud
        from infra.profiles import load_profile
        from tasks.resolve_lock import lock_path, make_lock, write_lock

        file = find_definition(image)
        definition = load_definition(file)
        origin = LockOrigin.STAND_IN if profile == "local" else LockOrigin.PUBLIC
        with stand_in_for_planning(profile), open_cloud(load_profile(profile)) as cloud:
            made = make_lock(
                definition, cloud, origin, progress=lambda name, done, total: console.print(f"[{done}/{total}] {name}", markup=False)
            )
        path = lock_path(file, origin)
        write_lock(made, path)
        typer.echo(f"wrote {path}: base {made.base_version}, {len(made.files)} files, {len(made.container_images)} container images")
