"""Who runs on a state folder: the lock that one stand-in holds, and standin.json, which says where it listens."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from images.errors import ConfigurationError

ANNOUNCEMENT = "standin.json"
LOCK = "standin.lock"


def read_announcement(state: Path) -> dict[str, Any] | None:
    """What a running stand-in says of itself, or None when none runs on this folder."""
    try:
        content: dict[str, Any] = json.loads((state / ANNOUNCEMENT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return content if is_alive(int(content["pid"])) else None


@contextlib.contextmanager
def owned(state: Path) -> Iterator[None]:
    """Hold the folder's lock, and take standin.json away in the end; raises ConfigurationError when it is held or can not be written.

    The system lets go of the lock however the process ends.
    """
    try:
        state.mkdir(parents=True, exist_ok=True)
        lock = (state / LOCK).open("a")
    except OSError as error:
        raise ConfigurationError(
            f"the state folder can not be written: {error.strerror}", where=str(state), hint="choose another"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            running = read_announcement(state)
            owner = f" (pid {running['pid']})" if running else ""
            raise ConfigurationError(
                f"another stand-in cloud{owner} runs on this folder", where=str(state), hint="use that one, or end it first"
            ) from error
        # Left by a stand-in that was killed.
        (state / ANNOUNCEMENT).unlink(missing_ok=True)
        try:
            yield
        finally:
            (state / ANNOUNCEMENT).unlink(missing_ok=True)


def announce(state: Path, content: dict[str, Any]) -> None:
    """Write standin.json, readable by its owner only: it holds storage keys."""
    file = state / ANNOUNCEMENT
    part = file.with_suffix(".part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as target:
        json.dump(content, target, indent=1)
    part.replace(file)


def is_alive(pid: int) -> bool:
    """True when a process has this id."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
