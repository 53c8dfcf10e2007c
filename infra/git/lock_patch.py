"""Changed lock files as one patch that `git apply` takes.

Format: https://git-scm.com/docs/diff-format ("Generating patch text with -p").
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_MODE = "100644"
_NO_NEWLINE = "\\ No newline at end of file\n"


@dataclass(frozen=True)
class ChangedFile:
    """A file by its path in the repository (with /), and its text before and after; None where there is none."""

    path: str
    old: str | None
    new: str | None


def lock_patch(files: Iterable[ChangedFile]) -> str:
    """A unified diff of these files, by path; empty when none of them changed. ValueError for a path that leads out of a repository."""
    changed = sorted((file for file in files if file.old != file.new), key=lambda file: file.path)
    return "".join(line for file in changed for line in _file_patch(file))


def _file_patch(file: ChangedFile) -> Iterator[str]:
    path = repository_path(file.path)
    yield f"diff --git a/{path} b/{path}\n"
    if file.old is None:
        yield f"new file mode {_MODE}\n"
    elif file.new is None:
        yield f"deleted file mode {_MODE}\n"
    before = "/dev/null" if file.old is None else f"a/{path}"
    after = "/dev/null" if file.new is None else f"b/{path}"
    for line in difflib.unified_diff(_lines(file.old), _lines(file.new), before, after):
        yield line if line.endswith("\n") else f"{line}\n{_NO_NEWLINE}"


def _lines(text: str | None) -> list[str]:
    # Not splitlines(): that also parts at form feeds and other marks, which are no line ends for git.
    parts = (text or "").split("\n")
    lines = [f"{part}\n" for part in parts[:-1]]
    return [*lines, parts[-1]] if parts[-1] else lines


def repository_path(path: str) -> str:
    """The path, when it is one inside a repository and needs no quoting in a diff; ValueError otherwise."""
    parts = path.split("/")
    plain = all(part not in ("", ".", "..", ".git") for part in parts) and path.isascii() and path.isprintable()
    if not plain or any(mark in path for mark in '\\" '):
        raise ValueError(f"not a plain path inside a repository: {path!r}")
    return path
