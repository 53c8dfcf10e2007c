"""Changes the disk inside a VHD with programs that share no code with ours: ntfs-3g, wimlib and hivex."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SECTOR = 512
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
_NEEDED = {
    "ntfscat": "ntfs-3g",
    "ntfscp": "ntfs-3g",
    "mkntfs": "ntfs-3g",
    "wimcapture": "wimtools",
    "wimupdate": "wimtools",
    "wimapply": "wimtools",
    "hivexsh": "libhivex-bin",
}


def run(*command: str | Path, text: str | None = None) -> bytes:
    """Output of a program; skips the test, with the package to install, where there is none."""
    name = str(command[0])
    program = shutil.which(name, path=_PATH)
    if program is None:
        pytest.skip(f"{name} (Debian: {_NEEDED[name]}) is not installed")
    given = text.encode() if text is not None else b""
    return subprocess.run([program, *map(str, command[1:])], input=given, capture_output=True, check=True, timeout=120).stdout


class ForeignVolume:
    """The NTFS volume of a disk with an MBR, as a file of its own; paths are written with forward slashes."""

    def __init__(self, file: Path, first_sector: int, work: Path) -> None:
        self._file = file
        self._first_sector = first_sector
        self._work = work

    def read(self, path: str) -> bytes:
        """Content of a file."""
        return run("ntfscat", "-f", self._file, path)

    def write(self, path: str, content: bytes) -> None:
        """Make a file, or replace its content."""
        source = self._work / "content"
        source.write_bytes(content)
        run("ntfscp", "-f", self._file, source, path)

    def remove(self, path: str) -> None:
        """Delete a file: ntfs-3g can not without mounting, so the volume is made again without it."""
        archive = self._work / "volume.wim"
        run("wimcapture", self._file, archive, "--compress=none", "--no-acls")
        run("wimupdate", archive, "1", f"--command=delete '{path}'")
        size = self._file.stat().st_size
        self._file.unlink()
        with self._file.open("wb") as made:
            made.truncate(size)
        run("mkntfs", "-F", "-Q", "-q", "-c", "4096", "-s", "512", "-p", str(self._first_sector), "-H", "255", "-S", "63", self._file)
        run("wimapply", archive, "1", self._file)

    def edit_hive(self, name: str, commands: str) -> None:
        """Run hivexsh commands on a registry hive and put it back."""
        hive = self._work / name
        path = f"/Windows/System32/config/{name}"
        hive.write_bytes(self.read(path))
        run("hivexsh", "-w", hive, text=f"{commands}\ncommit\n")
        run("ntfscp", "-f", self._file, hive, path)


@contextmanager
def volume_of(vhd: Path, work: Path) -> Iterator[ForeignVolume]:
    """The largest partition of the VHD to change; it is put back at the end."""
    with vhd.open("r+b") as disk:
        table = disk.read(SECTOR)
        entries = [struct.unpack_from("<II", table, 446 + 16 * index + 8) for index in range(4)]
        first_sector, sectors = max(entries, key=lambda entry: int(entry[1]))
        disk.seek(first_sector * SECTOR)
        file = work / "volume.ntfs"
        file.write_bytes(disk.read(sectors * SECTOR))
        yield ForeignVolume(file, first_sector, work)
        disk.seek(first_sector * SECTOR)
        disk.write(file.read_bytes())


Change = Callable[[ForeignVolume], None]
