"""Files of an NTFS volume inside a disk image, read through libfsntfs with bounded memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import pyfsntfs

from infra.vhd.errors import VhdError, VhdNotFoundError
from infra.vhd.sized_stream import SizedStream
from infra.vhd.source import ByteSource, Window, library_errors, text_of

MAX_DEPTH = 64
MAX_ENTRIES = 5_000_000
_PIECE = 1 << 20
# MFT entries 0 to 15 are the volume's own files ($MFT, $LogFile, …), and 5 among them is the root folder.
# https://learn.microsoft.com/en-us/windows/win32/devnotes/master-file-table
_FIRST_USER_ENTRY = 16
_REPARSE_POINT = 0x400
_SPARSE_EXTENT = 0x1
_MAX_EXTENTS = 4096
_WHOLE_BYTES = 8 * 2**20


@dataclass(frozen=True)
class NtfsEntry:
    r"""A file or folder: its path from the volume's root (Windows\System32), its size in bytes, and whether it is a folder or a link."""

    path: str
    is_folder: bool
    is_link: bool
    size_bytes: int
    reference: int
    _entry: Any

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self.path.rpartition("\\")[2]


class NtfsFile(SizedStream):
    """The content of a file, readable piece by piece and seekable."""

    def __init__(self, entry: Any, size: int, window: Window, path: str) -> None:
        super().__init__()
        self._entry = entry
        self._window = window
        self._path = path
        self.size = size

    def read(self, size: int = -1) -> bytes:
        wanted = self._wanted(size, _PIECE)
        if not wanted:
            return b""
        with library_errors(self._window, f"content of {self._path}"):
            data = self._entry.read_buffer_at_offset(wanted, self._position)
        if not data:
            raise VhdError(f"{self._path} ends {self.size - self._position} bytes too early")
        self._position += len(data)
        return bytes(data)


class NtfsVolume:
    """An NTFS volume of a disk, from `offset` on; use it as a context manager."""

    def __init__(self, disk: ByteSource, offset: int, size_bytes: int) -> None:
        self._window = Window(disk, offset, size_bytes)
        self._volume = pyfsntfs.volume()
        self.size_bytes = size_bytes
        with library_errors(self._window, "NTFS volume"):
            self._volume.open_file_object(self._window)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the volume; the source stays open."""
        self._volume.close()

    def find(self, path: str) -> NtfsEntry | None:
        r"""The file or folder at a path from the root (Windows\System32 or C:\Windows\System32) in any case, or None."""
        parts = _parts(path)
        if not parts:
            return self._root()
        # libfsntfs walks the folders' index trees, so that large folders are not read whole, and compares as NTFS does.
        with library_errors(self._window, path):
            entry = self._volume.get_file_entry_by_path("\\" + "\\".join(parts))
            return None if entry is None else _describe(entry, "\\".join(parts[:-1]))

    def require(self, path: str) -> NtfsEntry:
        """The file or folder at a path; VhdNotFoundError when it is not there."""
        found = self.find(path)
        if found is None:
            raise VhdNotFoundError(f"no {path} on the Windows volume")
        return found

    def children(self, folder: NtfsEntry) -> Iterator[NtfsEntry]:
        """What a folder holds, in the order of its index (by name)."""
        with library_errors(self._window, f"folder {folder.path or chr(92)}"):
            count = folder._entry.number_of_sub_file_entries
        if count > MAX_ENTRIES:
            raise VhdError(f"folder {folder.path} claims {count} entries")
        for index in range(count):
            with library_errors(self._window, f"folder {folder.path or chr(92)}, entry {index}"):
                child = folder._entry.get_sub_file_entry(index)
                described = _describe(child, folder.path)
            if described is not None and (folder.path or described.reference >= _FIRST_USER_ENTRY):
                yield described

    def walk(self, path: str = "") -> Iterator[NtfsEntry]:
        """Everything below a folder, folders before their content; links are named but not followed. Nothing when it is absent."""
        top = self.find(path)
        if top is None or not top.is_folder:
            return
        seen = {top.reference}
        waiting = [(top, 0)]
        while waiting:
            folder, depth = waiting.pop()
            for child in self.children(folder):
                yield child
                if not child.is_folder or child.is_link:
                    continue
                if child.reference in seen:
                    raise VhdError(f"folder {child.path} is its own parent or has two", hint="the volume's index is damaged")
                if depth >= MAX_DEPTH or len(seen) > MAX_ENTRIES:
                    raise VhdError(f"folder {child.path} lies more than {MAX_DEPTH} levels deep")
                seen.add(child.reference)
                waiting.append((child, depth + 1))

    def open_file(self, entry: NtfsEntry) -> NtfsFile:
        """The content of a file as a stream; VhdError when it claims to be larger than the volume."""
        if entry.is_folder:
            raise VhdError(f"{entry.path} is a folder")
        # Compressed and sparse files may be larger than their place on the disk, but not on the disks that we read here.
        if entry.size_bytes > max(self.size_bytes * 16, 2**30):
            raise VhdError(f"{entry.path} claims {entry.size_bytes} bytes on a volume of {self.size_bytes}")
        return NtfsFile(entry._entry, entry.size_bytes, self._window, entry.path)

    def prefetch(self, entries: Iterable[NtfsEntry], *, max_bytes_each: int = _WHOLE_BYTES) -> None:
        """Have the first bytes of these files fetched together, where the disk is far away; raises what reading them raises."""
        wanted: list[tuple[int, int]] = []
        for entry in entries:
            if entry.is_folder:
                continue
            left = min(entry.size_bytes, max_bytes_each)
            with library_errors(self._window, f"extents of {entry.path}"):
                # Small files lie in their MFT record and have no extents.
                for index in range(min(entry._entry.number_of_extents, _MAX_EXTENTS)):
                    offset, size, flags = entry._entry.get_extent(index)
                    if left <= 0:
                        break
                    if not flags & _SPARSE_EXTENT:
                        wanted.append((offset, min(size, left)))
                    left -= size
        self._window.prefetch(wanted)

    def read(self, path: str, *, max_bytes: int = 64 * 2**20) -> bytes:
        """The whole content of a file; VhdNotFoundError when it is absent, VhdError when it is larger than max_bytes."""
        return self.read_entry(self.require(path), max_bytes=max_bytes)

    def read_entry(self, entry: NtfsEntry, *, max_bytes: int = 64 * 2**20) -> bytes:
        """The whole content of a file that was found before; VhdError when it is larger than max_bytes."""
        if entry.size_bytes > max_bytes:
            raise VhdError(f"{entry.path} has {entry.size_bytes} bytes, at most {max_bytes} were expected")
        stream = self.open_file(entry)
        return b"".join(iter(lambda: stream.read(_PIECE), b""))

    def sha256(self, entry: NtfsEntry) -> str:
        """Hash of a file's content, lower case, reading a piece at a time."""
        digest = hashlib.sha256()
        stream = self.open_file(entry)
        for piece in iter(lambda: stream.read(_PIECE), b""):
            digest.update(piece)
        return digest.hexdigest()

    def free_bytes(self) -> int:
        """Unused clusters of the volume in bytes, counted in $Bitmap."""
        with library_errors(self._window, "$Bitmap"):
            cluster = int(self._volume.cluster_block_size)
            entry = self._volume.get_file_entry(6)
            size = entry.size
        clusters = self.size_bytes // cluster
        stream = NtfsFile(entry, min(size, -(-clusters // 8)), self._window, "$Bitmap")
        used = sum(int.from_bytes(piece, "little").bit_count() for piece in iter(lambda: stream.read(_PIECE), b""))
        return max(0, clusters - used) * cluster

    def _root(self) -> NtfsEntry:
        with library_errors(self._window, "root folder"):
            root = self._volume.get_root_directory()
            return NtfsEntry("", True, False, 0, root.file_reference & 0xFFFF_FFFF_FFFF, root)


def _describe(entry: Any, parent: str) -> NtfsEntry | None:
    if not entry.name:
        return None
    name = text_of(entry.name)
    folder = entry.has_directory_entries_index()
    return NtfsEntry(
        path=f"{parent}\\{name}" if parent else name,
        is_folder=folder,
        is_link=bool(entry.file_attribute_flags & _REPARSE_POINT) and entry.symbolic_link_target is not None,
        size_bytes=0 if folder else entry.size,
        # The upper 16 bits are a sequence number.
        reference=entry.file_reference & 0xFFFF_FFFF_FFFF,
        _entry=entry,
    )


def _parts(path: str) -> list[str]:
    parts = [part for part in path.replace("/", "\\").split("\\") if part]
    return parts[1:] if parts and parts[0].endswith(":") else parts
