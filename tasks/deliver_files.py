"""Files over the link, for a guest that can not reach blob storage."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from images.errors import StageError
from images.stages.content import SaveFileInput, SourceFile
from infra.guest.link import GuestLink
from infra.guest.transfer import FileContent
from infra.vhd.blob_range_reader import RangeServer
from tasks.build import Build
from tasks.progress import run_logger
from tasks.step_task import step_task

PIECE_BYTES = 4 * 1024 * 1024
UNREACHABLE = ("download-failed", "network-unreachable")
"""Codes of a stage whose guest got no answer, or none that it could use, from the address of a file."""


@step_task("deliver-files", "Files over the link")
def deliver_files(build: Build, link: GuestLink, wanted: SaveFileInput, reason: StageError, *, layer: str) -> None:
    """Bring a stage's files to their places over the link, so that the stage finds them there, verified.

    Raises what the link raises, and CloudError when this machine can not read a file either.
    """
    run_logger().warning("the guest can not fetch its files (%s): they go over the link, which is slower", reason.what)
    with build.timings.step("files over the link", layer=layer) as step:
        for number, file in enumerate(wanted.files, 1):
            name = file.path.rpartition("\\")[2]
            step.progress(f"{number} of {len(wanted.files)}: {name}")
            content = FileContent(file.sha256, file.size_bytes, partial(_read, file, build.cloud.profile.poll_interval_s))
            link.send_file(content, file.path, on_progress=lambda event: step.progress(event.message, event.done, event.total))


def _read(file: SourceFile, first_wait_s: float, offset: int) -> Iterator[bytes]:
    server = RangeServer(file.url, first_wait_s=first_wait_s)
    try:
        for start in range(offset, file.size_bytes, PIECE_BYTES):
            yield server.fetch(start, min(PIECE_BYTES, file.size_bytes - start))
    finally:
        server.close()
