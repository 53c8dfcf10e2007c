"""Unpacking .zip, .tar.gz and .tgz as Expand-Archive and tar.exe do."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import PurePosixPath

Unpacked = tuple[str, bytes]
"""Path inside the archive with backslashes, and content."""


class ArchiveError(Exception):
    """The bytes are not the archive that the name promises, or a member would leave the destination."""


def unpack(name: str, archive: bytes) -> tuple[Unpacked, ...]:
    """The files of an archive, in its order; ArchiveError when it can not be read."""
    try:
        members = _zip_members(archive) if name.lower().endswith(".zip") else _tar_members(archive)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError) as error:
        raise ArchiveError(f"{name}: {error}") from error
    return tuple((_safe(name, path), content) for path, content in members)


def _zip_members(archive: bytes) -> Sequence[Unpacked]:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return [(info.filename, opened.read(info)) for info in opened.infolist() if not info.is_dir()]


def _tar_members(archive: bytes) -> Sequence[Unpacked]:
    members = []
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:*") as opened:
        for info in opened:
            stream = opened.extractfile(info) if info.isfile() else None
            if stream is not None:
                members.append((info.name, stream.read()))
    return members


def _safe(name: str, path: str) -> str:
    parts = PurePosixPath(path.replace("\\", "/")).parts
    if ".." in parts or not parts or parts[0].startswith("/") or ":" in parts[0]:
        raise ArchiveError(f"{name}: member {path} would leave the destination")
    return "\\".join(parts)
