r"""How full C: is. Bodies of the stand-in's outside are scaled down, so what came from there counts with its real size.

used = what a fresh image takes (a constant of the product, with a system-managed page file of 2 GiB) + a fixed page file's difference to
that + every file below the folders that downloads go to, times SCALE + every other file as it is. The folders of Windows itself and
files in the root are not scaled. Everything follows from the disk alone; the numbers are the model's, not Windows' own.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from infra.local.machine.disk import MachineDisk
from infra.local.machine.products import product_of
from infra.local.origin.bodies import SCALE

GIB = 1024**3
_MIB = 1024**2
_MANAGED_PAGEFILE = 2 * GIB
_UNSCALED = {"windows", "windowsazure", "packages", "users", "winvhd", "perflogs", "inetpub", "recovery", "system volume information"}
_MEMORY_MANAGEMENT = r"HKLM:\SYSTEM\CurrentControlSet\Control\Session Manager\Memory Management"


def total_bytes(disk: MachineDisk) -> int:
    """Size of C: in bytes."""
    return disk.partition_gib * GIB


def is_scaled(disk: MachineDisk, file: Path) -> bool:
    """True for a file that stands for one of SCALE times its size."""
    parts = [part.lower() for part in file.relative_to(disk.c).parts]
    return len(parts) > 1 and parts[0] not in _UNSCALED and parts[:2] != ["programdata", "microsoft"]


def used_bytes(disk: MachineDisk, windows_build: int) -> int:
    """What is taken on C:, in bytes."""
    used = int(product_of(windows_build).base_used_gib * GIB) + _pagefile_difference(disk)
    for folder, _, names in os.walk(disk.c):
        for name in names:
            file = Path(folder) / name
            used += file.stat().st_size * (SCALE if is_scaled(disk, file) else 1)
    return used


def free_bytes(disk: MachineDisk, windows_build: int) -> int:
    """What is free on C:, in bytes; never negative."""
    return max(total_bytes(disk) - used_bytes(disk, windows_build), 0)


def _pagefile_difference(disk: MachineDisk) -> int:
    key = disk.key(_MEMORY_MANAGEMENT)
    files = key.get("PagingFiles") if key else None
    if not isinstance(files, list):
        return 0
    fixed = re.search(r"pagefile\.sys (\d+) (\d+)", files[0]) if files else None
    size = int(fixed.group(1)) * _MIB if fixed else 0
    # "?:\pagefile.sys" and sizes of 0 leave it to Windows.
    return size - _MANAGED_PAGEFILE if (fixed and size) or not files else 0


def pagefile_setting(disk: MachineDisk, size_mib: int) -> bool:
    """Set a fixed page file of this size in MiB, 0 for none; False when it was set so already. It counts from the next start."""
    wanted = [rf"C:\pagefile.sys {size_mib} {size_mib}"] if size_mib else []
    key = disk.make_key(_MEMORY_MANAGEMENT)
    if key.get("PagingFiles") == wanted:
        return False
    key.set("PagingFiles", wanted, "REG_MULTI_SZ")
    return True
