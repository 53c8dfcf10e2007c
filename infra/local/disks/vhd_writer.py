r"""Writes a machine's disk folder as a real fixed VHD: partition table, NTFS volume, registry hives."""

from __future__ import annotations

import errno
import os
import re
import tempfile
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from images.errors import CaptureError
from infra.local.disks.fat_volume import make_empty_fat_volume
from infra.local.disks.ntfs_volume import make_ntfs_volume
from infra.local.disks.partition_table import MIB, SECTOR, layout_of, make_partition_table
from infra.local.disks.regf import make_hive
from infra.local.disks.scale_note import NOTE_OFFSET, ScaleNote
from infra.local.machine.disk import HIVES, MachineDisk, RegistryKey
from infra.vhd.footer import make_footer
from infra.vhd.windows_places import CONFIG_FOLDER

EMPTY_HIVES = ("SECURITY", "DEFAULT")
"""Hives that every Windows has and the stand-in's machines do not use."""
MIN_DISK_MIB = 128
MAX_DISK_MIB = 511
"""Keeps tests and uploads of whole disks small; Azurite itself (3.37) stores and copies larger blobs."""
_CLUSTER = 4096
_RECORD = 1024
"""Size of an MFT record; content below about 700 bytes lies in it."""
_NAME_HINT = "something wrote into the stand-in's folder by hand: delete the disk, and build again"
# https://learn.microsoft.com/en-us/windows/win32/fileio/naming-a-file
_IMPOSSIBLE = re.compile(r'[<>:"/\\|?*\x00-\x1f]')


def write_vhd(disk: MachineDisk, target: Path, *, created: datetime | None = None, unique_id: uuid.UUID | None = None) -> None:
    """Write the VHD beside `target` and rename it into place: a kill leaves no half file under that name.

    created and unique_id make the footer, partition table and hives repeatable (the NTFS volume gets a new serial number each time).
    Raises CaptureError when the content does not fit into MAX_DISK_MIB, MissingToolError when mkntfs or wimlib is missing.
    """
    created = created or datetime.now(UTC)
    unique_id = unique_id or uuid.uuid4()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as temporary:
        work = Path(temporary)
        hives = work / "hives"
        hives.mkdir()
        _write_hives(disk, hives, created)
        layout = layout_of(disk.generation, _windows_bytes(disk, hives))
        volume = work / "windows.ntfs"
        place = "/" + disk.path(f"C:\\{CONFIG_FOLDER}").relative_to(disk.c).as_posix()
        sources = [(disk.c, "/"), (hives, place)]
        make_ntfs_volume(volume, layout.windows_bytes, layout.windows_offset // SECTOR, sources, work, label="Windows")
        part = work / target.name
        with part.open("w+b") as image:
            image.truncate(layout.size_bytes)
            for offset, block in make_partition_table(layout, unique_id).items():
                image.seek(offset)
                image.write(block)
            image.seek(NOTE_OFFSET)
            image.write(ScaleNote(disk.size_gib, disk.partition_gib).pack())
            if layout.efi_bytes:
                image.seek(layout.efi_offset)
                image.write(make_empty_fat_volume(layout.efi_bytes, layout.efi_offset // SECTOR, unique_id.node & 0xFFFF_FFFF))
            image.flush()
            _copy_data(volume, image.fileno(), layout.windows_offset)
            image.seek(layout.size_bytes)
            image.write(make_footer(layout.size_bytes, unique_id=unique_id, created=created))
        part.replace(target)


def _write_hives(disk: MachineDisk, folder: Path, written: datetime) -> None:
    for name in (*HIVES, *EMPTY_HIVES):
        root = disk.hives.get(name) or RegistryKey(name)
        (folder / name).write_bytes(make_hive(root, f"\\SystemRoot\\System32\\Config\\{name}", written))


def _windows_bytes(disk: MachineDisk, hives: Path) -> int:
    """Size of a volume that holds the content with a fifth to spare; CaptureError when that is too much or a name is impossible."""
    records = content = 0
    for root in (disk.c, hives):
        for folder, folders, files, descriptor in os.fwalk(root):
            _check_names(folder, [*folders, *files])
            records += len(files) + len(folders)
            content += len(folders) * _CLUSTER
            content += sum(-(-os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_size // _CLUSTER) * _CLUSTER for name in files)
    # mkntfs takes about 10 MiB for itself at these sizes, mostly for the journal.
    needed_mib = -(-((content + records * 2 * _RECORD) * 6 // 5) // MIB) + 24
    overhead_mib = layout_of(disk.generation, 0).size_bytes // MIB
    size_mib = max(needed_mib, MIN_DISK_MIB - overhead_mib)
    if size_mib + overhead_mib > MAX_DISK_MIB:
        raise CaptureError(
            f"the machine's disk needs {needed_mib} MiB, more than the {MAX_DISK_MIB} MiB that the stand-in allows",
            hint="the stand-in scales content down; what was added to this image on top is too large for it",
        )
    return size_mib * MIB


def _check_names(folder: str, names: list[str]) -> None:
    """CaptureError for names that Windows could not have made: they would be lost or hidden on the volume without a word."""
    for name in names:
        if _IMPOSSIBLE.search(name) or name.endswith((".", " ")):
            raise CaptureError(f"{name!r} can not be the name of a file on Windows", where=folder, hint=_NAME_HINT)
    if len({name.lower() for name in names}) != len(names):
        raise CaptureError("two files of one folder differ in case only, which they can not on Windows", where=folder, hint=_NAME_HINT)


def _copy_data(source: Path, target: int, offset: int) -> None:
    with source.open("rb") as file:
        for start, end in data_ranges(file.fileno()):
            position = start
            while position < end:
                copied = os.copy_file_range(file.fileno(), target, end - position, position, offset + position)
                if not copied:
                    raise CaptureError(f"{source.name} ended at {position} of {end} bytes while it was copied", hint="is the disk full?")
                position += copied


def data_ranges(descriptor: int) -> Iterator[tuple[int, int]]:
    """The parts of a sparse file that hold data, as (start, end) in bytes."""
    end = 0
    while True:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, end
