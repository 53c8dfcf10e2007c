"""The logs that tell why a machine hangs, read from its disk while it is off."""

from __future__ import annotations

from infra.vhd.image_file import open_image
from infra.vhd.ntfs import NtfsVolume
from infra.vhd.partitions import read_partitions, windows_partition
from infra.vhd.source import ByteSource

SETUP_LOGS = (
    r"C:\Windows\System32\Sysprep\Panther\setuperr.log",
    r"C:\Windows\System32\Sysprep\Panther\setupact.log",
    r"C:\Windows\Panther\setuperr.log",
    r"C:\Windows\Panther\UnattendGC\setupact.log",
    r"C:\WindowsAzure\Logs\WaAppAgent.log",
)
"""https://learn.microsoft.com/windows-hardware/manufacture/desktop/windows-setup-log-files-and-event-logs"""
RUNS = r"C:\winvhd\runs"
TAIL_BYTES = 64 * 1024
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def read_log_tails(source: ByteSource, *, tail_bytes: int = TAIL_BYTES) -> dict[str, str]:
    """The ends of setup's logs and of the error streams of the build's runs, by path; those that are there.

    Raises VhdError for a disk that is damaged or holds no Windows; what the source itself raises is passed on.
    """
    image = open_image(source, require_footer=False)
    part = windows_partition(image.disk, read_partitions(image.disk, image.size_bytes))
    with NtfsVolume(image.disk, part.offset, part.size_bytes) as volume:
        names = (entry.path.rpartition("\\")[2] for entry in volume.walk(RUNS))
        runs = [rf"{RUNS}\{name}" for name in names if name.endswith(".err")]
        return {path: tail for path in (*SETUP_LOGS, *sorted(runs)) if (tail := _tail(volume, path, tail_bytes))}


def _tail(volume: NtfsVolume, path: str, tail_bytes: int) -> str:
    entry = volume.find(path)
    if entry is None or entry.is_folder or not entry.size_bytes:
        return ""
    stream = volume.open_file(entry)
    encoding = "utf-16" if stream.read(2) in _UTF16 else "utf-8"
    start = max(0, entry.size_bytes - tail_bytes)
    stream.seek(start - start % 2)
    data = stream.read(tail_bytes + 1)
    if encoding == "utf-16" and start:
        encoding = "utf-16-le"
    return data.decode(encoding, "replace").strip()
