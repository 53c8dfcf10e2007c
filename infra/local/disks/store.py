"""Disks of the stand-in cloud: one folder each, copied by hard links, exchanged with the outside as VHD files."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from images.errors import ConfigurationError
from infra.local.contracts import BaseImageReference
from infra.local.disks.vhd_reader import read_vhd
from infra.local.disks.vhd_writer import write_vhd
from infra.local.machine.base import create_base_disk
from infra.local.machine.disk import MachineDisk

_DISK_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}")


class DiskNotFoundError(ConfigurationError):
    """No disk of this name in the store."""

    title = "no such disk"


class DiskExistsError(ConfigurationError):
    """There is a disk of this name already."""

    title = "the disk exists"


class FolderDiskStore:
    """Implements infra.local.contracts.DiskStore below `root`.

    A disk is built in a hidden folder and renamed when it is whole, so that a kill leaves no half disk under a name.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def folder(self, disk_id: str) -> Path:
        """The folder of a disk, existing or not; ConfigurationError for a name that is no plain file name."""
        if not _DISK_ID.fullmatch(disk_id):
            raise ConfigurationError(f"{disk_id!r} can not name a disk", hint="letters, digits, dot, dash and underscore")
        return self.root / disk_id

    def create_from_base(self, disk_id: str, base: BaseImageReference, size_gib: int) -> None:
        """A new disk with the content of a marketplace image; ConfigurationError when it is smaller than the image."""
        self._build(disk_id, lambda folder: create_base_disk(folder, base, size_gib))

    def copy(self, source_id: str, target_id: str, size_gib: int) -> None:
        """A copy that shares unchanged files with its source; what it is larger lies behind C:. DiskNotFoundError without a source."""
        source = MachineDisk.open(self._existing(source_id))

        def fill(folder: Path) -> None:
            source.copy_to(folder)
            if size_gib != source.size_gib:
                copied = MachineDisk.open(folder)
                copied.size_gib = size_gib
                copied.save()

        self._build(target_id, fill)

    def import_vhd(self, vhd: Path, disk_id: str, generation: str, size_gib: int) -> None:
        """A new disk from a VHD file; VhdError when it is damaged or of the other generation."""
        self._build(disk_id, lambda folder: read_vhd(vhd, folder, generation, size_gib))

    def export_vhd(self, disk_id: str, target: Path) -> None:
        """The disk as a fixed VHD; `target` appears when it is whole."""
        write_vhd(MachineDisk.open(self._existing(disk_id)), target)

    def delete(self, disk_id: str) -> None:
        """Remove a disk; nothing happens when there is none."""
        folder = self.folder(disk_id)
        if folder.exists():
            # Renamed first: a kill in the middle leaves no half disk under its name.
            doomed = Path(tempfile.mkdtemp(prefix=".deleted.", dir=self.root)) / "disk"
            folder.rename(doomed)
            shutil.rmtree(doomed.parent)

    def exists(self, disk_id: str) -> bool:
        """True when there is a disk of this name."""
        return self.folder(disk_id).is_dir()

    def _existing(self, disk_id: str) -> Path:
        folder = self.folder(disk_id)
        if not folder.is_dir():
            raise DiskNotFoundError(f"there is no disk {disk_id}", hint="it was deleted, or is of another stand-in: run the build again")
        return folder

    def _build(self, disk_id: str, fill: Callable[[Path], object]) -> None:
        target = self.folder(disk_id)
        if target.exists():
            raise DiskExistsError(f"there is a disk {disk_id} already", hint="delete it first, or give the new one another name")
        work = Path(tempfile.mkdtemp(prefix=".making.", dir=self.root))
        try:
            folder = work / "disk"
            fill(folder)
            folder.rename(target)
        finally:
            shutil.rmtree(work)
