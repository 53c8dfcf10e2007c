"""`winvhd build`: run the build-image flow here and now."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from flows.choices import CloudName, Rebuild
from flows.cli.failure import reported
from flows.cli.services import services_for_build
from infra.checkout import make_folder, output_folder


def build(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Names of definitions in images/definitions, or paths.")],
    profile: Annotated[CloudName, typer.Option(help="Which cloud: the stand-in on this machine, or Azure.")] = "local",
    copy_to: Annotated[str, typer.Option(metavar="ACCOUNT/CONTAINER", help="Copy the VHD there as well.")] = "",
    rebuild: Annotated[
        Rebuild,
        typer.Option(
            help="changed: what has changed since the last checkpoint, nothing when nothing has. image: a new image on the layers that are"
            " there. everything: from the base image."
        ),
    ] = "changed",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on standard output.")] = False,
) -> None:
    """Build images: captured, documented, boot-tested VHDs. Layers that several have in common are built once."""
    console = Console(stderr=True)
    with reported(console, as_json=as_json):
        from images.errors import ConfigurationError
        from images.loading import find_definition, load_definition
        from infra.azure.blob_copy import split_target

        # Before anything starts: a wrong definition or a folder that can not be written should not have to wait for a server.
        names = [load_definition(find_definition(image)).name for image in images]
        if copy_to:
            split_target(copy_to)
            if len(names) > 1:
                raise ConfigurationError(
                    "--copy-to takes one image at a time", hint="build the images, then copy each with its own command"
                )
        make_folder(output_folder())
        console.print(f"building {', '.join(names)} on the {'stand-in' if profile == 'local' else 'Azure'} cloud", highlight=False)
        with services_for_build(profile) as wait_until_ready:
            console.print("starting a Prefect server and what else the build needs …", highlight=False)
            from flows.build_image import build_image
            from flows.build_images import build_images
            from flows.choices import ImageChoice
            from flows.cli.display import make_display
            from tasks.progress import listening

            wait_until_ready()
            with make_display(console) as display, listening(display):
                if len(images) == 1:
                    results = [build_image(ImageChoice(images[0]), profile, copy_to, rebuild)]
                else:
                    results = build_images([ImageChoice(image) for image in images], profile, rebuild)
        if as_json:
            sys.stdout.write(json.dumps(results[0] if len(images) == 1 else results) + "\n")
            return
        for result in results:
            _summary(result)


def _summary(result: dict[str, Any]) -> None:
    folder = Path(result["folder"])
    # The stand-in ends with the command, and its blobs answer no more: the file is what stays.
    local = folder / "image.vhd"
    vhd = local if local.exists() else result["vhd_url"]
    done = f"nothing changed since {result['built_at'][:16]}:" if result["unchanged"] else "built"
    lines = [
        "",
        f"{done} {result['image']} {result['image_version']} in {result['seconds']:.0f} s: {result['container_images']} container images,"
        f" {result['cached_files']} cached files, {result['checks_passed']} checks passed",
        f"  folder         {folder}",
        f"  VHD            {vhd}",
        f"                 sha256 {result['vhd_sha256']}",
    ]
    if result["copied_to"]:
        lines.append(f"  copy           {result['copied_to']}")
    # As it was called: after `make build` the command is not on the PATH.
    winvhd = os.path.relpath(sys.argv[0])
    lines += ["next:", f"  what is on it  less {folder}/release-notes.txt", f"  look inside    {winvhd} inspect {vhd}"]
    if local.exists():
        lines.append(f"  check it       {winvhd} verify {folder}")
    lines.append(f"  from a browser {winvhd} local up")
    typer.echo("\n".join(lines))
