"""Verified downloads inside the guest: several at a time, under a temporary name until the hash is right."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait
from typing import TypeVar

import httpx

from images.stages.content import SourceFile
from infra.local.machine.disk import MachineDisk
from infra.local.machine.stage_run import StageFailureError, StageRun

_PASSING_CODES = ("download-failed", "hash-mismatch")
"""Failures that another try may cure; a full disk or a refusal is none of them."""
_PAUSE_S = 0.05

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


def in_parallel(work: Callable[[Item], Outcome], items: Sequence[Item], parallel: int) -> list[Outcome]:
    """work(item) for all items, in their order; after the first failure nothing new begins, and it is raised."""
    failed = threading.Event()

    def guarded(item: Item) -> Outcome:
        if failed.is_set():
            raise CancelledError
        try:
            return work(item)
        except BaseException:
            failed.set()
            raise

    with ThreadPoolExecutor(max_workers=max(parallel, 1), thread_name_prefix="guest-download") as pool:
        futures = [pool.submit(guarded, item) for item in items]
        wait(futures)
    errors = [error for future in futures if (error := future.exception()) is not None]
    for error in errors:
        if not isinstance(error, CancelledError):
            raise error
    return [future.result() for future in futures]


def with_attempts(run: StageRun, attempts: int, action: Callable[[], Outcome]) -> tuple[Outcome, int]:
    """(what action gives, tries it took); a failure that may pass is tried again up to `attempts` tries in all."""
    attempt = 1
    while True:
        run.check_stopped()
        try:
            return action(), attempt
        except StageFailureError as error:
            if error.code not in _PASSING_CODES or attempt >= attempts:
                raise
            run.context.emit_stderr(f"attempt {attempt} of {attempts}: {error}\r\n")
        time.sleep(_PAUSE_S * attempt)
        attempt += 1


def is_verified(disk: MachineDisk, file: SourceFile) -> bool:
    """True when the file is there with its length and hash."""
    there = disk.path(file.path)
    return there.is_file() and there.stat().st_size == file.size_bytes and _sha256(there.read_bytes()) == file.sha256


def download(run: StageRun, client: httpx.Client, file: SourceFile) -> bytes:
    """The verified bytes behind a file's URL; StageFailureError hash-mismatch when they are others."""
    began = time.monotonic()
    content = run.fetch(client, file.url).content
    # A file in blob storage is in the VM's own region; anything else comes over the Internet.
    is_near = run.outside.route(file.url) == file.url
    run.take("guest.blob-file" if is_near else "origin.fetch", file.url.partition("?")[0], since=began)
    actual = _sha256(content)
    if actual != file.sha256 or len(content) != file.size_bytes:
        shown = file.url.partition("?")[0]
        raise StageFailureError("hash-mismatch", f"{shown}: expected sha256 {file.sha256}, got {actual}")
    return content


def save_files(run: StageRun, files: Sequence[SourceFile], parallel: int, attempts: int) -> int:
    """Bring files to their paths; how many bytes were downloaded, 0 when all were there, verified."""
    missing = [file for file in files if not is_verified(run.disk, file)]
    done: list[int] = []

    def save(client: httpx.Client, file: SourceFile) -> int:
        # Room first: a full disk must stop the stage before anything travels.
        run.reserve(file.size_bytes)
        content, _ = with_attempts(run, attempts, lambda: download(run, client, file))
        # The temporary name is replaced by the final one in MachineDisk.write.
        run.disk.write(file.path, content)
        done.append(len(content))
        run.progress(f"files: {len(done)} of {len(missing)}", sum(done), sum(one.size_bytes for one in missing))
        return len(content)

    with run.client() as client:
        return sum(in_parallel(lambda file: save(client, file), missing, parallel))


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
