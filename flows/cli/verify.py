"""`winvhd verify`: is this image what its build says it is."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from flows.cli.failure import reported

if TYPE_CHECKING:
    from tasks.verify_image import Check

_MARKS = {"passed": ("✓", "green"), "failed": ("✗", "red"), "skipped": ("-", "yellow")}


def verify(
    target: Annotated[Path, typer.Argument(help="Folder of a build (out/<build_id>), or a VHD.", metavar="DIR|VHD")],
    key: Annotated[Path | None, typer.Option(help="Public key in PEM: the provenance must be signed by its private half.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the checks as one JSON object on standard output.")] = False,
) -> None:
    """Check an image: signature, digests and sizes of its files, and the disk against the inventory."""
    with reported(Console(stderr=True), as_json=as_json):
        from images.errors import VerificationError
        from infra.signing.configured import public_key
        from tasks.verify_image import verify_image

        output = Console(highlight=False)
        checks = verify_image(target, public_key(key) if key else None, (lambda _: None) if as_json else lambda check: _show(output, check))
        failed = sum(check.outcome == "failed" for check in checks)
        if failed:
            raise VerificationError(
                f"{failed} of {len(checks)} checks of {target} failed"
                + "".join(f"\n  {check.what}: {check.detail}" for check in checks if check.outcome == "failed"),
                hint="do not use this image; build it again, or get it again from where it was published",
            )
        if as_json:
            sys.stdout.write(json.dumps({"target": str(target), "checks": [asdict(check) for check in checks]}) + "\n")


def _show(console: Console, check: Check) -> None:
    mark, colour = _MARKS[check.outcome]
    console.print(Text.assemble((mark, colour), f" {check.what}: {check.detail}"), soft_wrap=True)
