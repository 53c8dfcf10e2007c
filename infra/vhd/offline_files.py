"""The parts of an inventory that are files of a disk. Places: infra.vhd.windows_places."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import repeat

from images.inventory import CachedFile, Runtime, ScheduledTask
from infra.vhd import windows_places as places
from infra.vhd.block_cache import BlockCache
from infra.vhd.go_programs import build_information
from infra.vhd.hives import HiveKey
from infra.vhd.ntfs import NtfsEntry, NtfsFile, NtfsVolume

_PIECE = 1 << 20
_TOGETHER_BYTES = 8 * 2**20
_MAX_UPDATE_LOG_BYTES = 32 * 2**20
# Go programs keep the flags that they were linked with as text (debug/buildinfo); containerd sets what `containerd.exe --version` says so.
_LINKED_VERSION = re.compile(rb"containerd(?:/v2)?/version\.Version=([0-9A-Za-z.+~-]{1,64})")
_MODULE_VERSION = re.compile(r"^mod\tgithub\.com/containerd/containerd(?:/v2)?\t(v[0-9A-Za-z.+~-]{1,64})", re.MULTILINE)
_OVERLAP = 256
_FIRST_PIECE = 4096


def read_files(volume: NtfsVolume, roots: Sequence[str], *, hash_files: bool) -> tuple[CachedFile, ...]:
    """All files below the roots (C:\\…), sorted by path; sha256 is empty unless they are hashed."""
    entries: list[tuple[str, NtfsEntry]] = []
    for root in roots:
        top = volume.find(root)
        if top is None:
            continue
        # The root as it was asked for, what lies below it as it is spelled on the disk.
        entries += [
            (root.rstrip("\\") + entry.path[len(top.path) :], entry)
            for entry in volume.walk(root)
            if not entry.is_folder and not entry.is_link
        ]
    digests = _digests(volume, [entry for _, entry in entries]) if hash_files else repeat("")
    found = (
        CachedFile(path=path, sha256=digest, size_bytes=entry.size_bytes) for (path, entry), digest in zip(entries, digests, strict=False)
    )
    return tuple(sorted(found, key=lambda file: file.path))


def _digests(volume: NtfsVolume, entries: Sequence[NtfsEntry]) -> Iterator[str]:
    """Hashes in the order of the files, which are fetched many together."""
    start = 0
    while start < len(entries):
        end, size = start + 1, entries[start].size_bytes
        while end < len(entries) and size + entries[end].size_bytes <= _TOGETHER_BYTES:
            size += entries[end].size_bytes
            end += 1
        volume.prefetch(entries[start:end])
        yield from (volume.sha256(entry) for entry in entries[start:end])
        start = end


def read_scheduled_tasks(volume: NtfsVolume) -> tuple[ScheduledTask, ...]:
    r"""Tasks outside \Microsoft by their path (\folder\name), sorted."""
    prefix = f"{places.TASKS_FOLDER}\\"
    paths = [entry.path[len(prefix) - 1 :] for entry in volume.walk(places.TASKS_FOLDER) if not entry.is_folder]
    outside = [path for path in paths if not path.casefold().startswith(f"\\{places.MICROSOFT_TASKS}\\".casefold())]
    return tuple(ScheduledTask(path=path) for path in sorted(outside))


def read_vhd_id(volume: NtfsVolume) -> str:
    """Content of C:\\vhd-id.txt, '' when there is none."""
    if volume.find(places.VHD_ID_FILE) is None:
        return ""
    return volume.read(places.VHD_ID_FILE, max_bytes=4096).decode("utf-8-sig", errors="replace").strip()


def read_update_titles(volume: NtfsVolume) -> tuple[str, ...]:
    """Titles of the updates whose installation the agent's log records, sorted; () when the log is absent or no UTF-16 text."""
    entry = volume.find(places.UPDATE_LOG)
    if entry is None or entry.size_bytes > _MAX_UPDATE_LOG_BYTES:
        return ()
    try:
        text = volume.read(places.UPDATE_LOG).decode("utf-16")
    except UnicodeDecodeError:
        return ()
    found = (line.partition(places.UPDATE_LOG_SUCCESS)[2].strip() for line in text.splitlines())
    return tuple(sorted({title for title in found if title}))


def read_runtime(volume: NtfsVolume, control_set: HiveKey) -> Runtime | None:
    """containerd's version and the hash of its configuration; None when no program is where the service says."""
    service = control_set.find("Services\\containerd")
    command = service.text("ImagePath") if service else ""
    program = volume.find(_program_of(command) if command else places.CONTAINERD_PROGRAM)
    if program is None or program.is_folder:
        return None
    config = volume.find(_config_of(command) or program.path.rpartition("\\")[0] + "\\config.toml")
    return Runtime(
        name="containerd",
        version=_linked_version(volume, program),
        config_sha256=volume.sha256(config) if config is not None and not config.is_folder else "",
    )


def _program_of(command: str) -> str:
    quoted = re.match(r'\s*"([^"]+)"', command)
    if quoted:
        return quoted.group(1)
    bare = re.match(r"\s*(.+?\.exe)(?:\s|$)", command, re.IGNORECASE)
    return bare.group(1) if bare else command.strip()


def _config_of(command: str) -> str:
    found = re.search(r'(?:--config|-c)(?:\s+|=)(?:"([^"]+)"|(\S+))', command)
    return (found.group(1) or found.group(2)) if found else ""


def _linked_version(volume: NtfsVolume, program: NtfsEntry) -> str:
    information = build_information(BlockCache(volume.open_file(program), block_bytes=4096, max_blocks=64))
    linked = _LINKED_VERSION.search(information.encode())
    if linked:
        return linked.group(1).decode()
    # No PE program, or one whose build information lacks the flags (Go leaves them out with -trimpath): look through all of it.
    return _version_in(volume.open_file(program)) or "".join(_MODULE_VERSION.findall(information)[:1])


def _version_in(stream: NtfsFile) -> str:
    tail = b""
    size = _FIRST_PIECE
    while piece := stream.read(size):
        size = min(2 * size, _PIECE)
        window = tail + piece
        found = _LINKED_VERSION.search(window)
        # A version at the very end of the window may go on in the next piece.
        if found and (found.end() < len(window) or stream.tell() >= stream.size):
            return found.group(1).decode()
        tail = window[-_OVERLAP:]
    return ""
