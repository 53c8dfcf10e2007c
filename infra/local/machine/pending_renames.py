r"""Files that the session manager moves while Windows starts: Session Manager\PendingFileRenameOperations, pairs of source and target.

`\??\C:\…` each; an exclamation mark before the target replaces what is there, an empty target deletes the source
(https://learn.microsoft.com/windows/win32/api/winbase/nf-winbase-movefileexa).
"""

from __future__ import annotations

from collections.abc import Sequence

from infra.local.machine.disk import MachineDisk

_KEY = r"HKLM:\SYSTEM\CurrentControlSet\Control\Session Manager"
_VALUE = "PendingFileRenameOperations"
_PREFIX = "\\??\\"


def add_pending_renames(disk: MachineDisk, moves: Sequence[tuple[str, str]]) -> None:
    """Let files (source, target) replace others at the next start; a source that waits already is left alone."""
    key = disk.make_key(_KEY)
    there = key.get(_VALUE)
    waiting = list(there) if isinstance(there, list) else []
    for source, target in moves:
        if _PREFIX + source not in waiting:
            waiting += [_PREFIX + source, f"!{_PREFIX}{target}"]
    if waiting:
        key.set(_VALUE, waiting, "REG_MULTI_SZ")


def finish_pending_renames(disk: MachineDisk) -> None:
    """What the session manager does while Windows starts; a source that is gone is passed over, as Windows does."""
    key = disk.make_key(_KEY)
    there = key.get(_VALUE)
    waiting = there if isinstance(there, list) else []
    for source, target in zip(waiting[::2], waiting[1::2], strict=False):
        file = disk.path(source.removeprefix(_PREFIX))
        if not file.is_file():
            continue
        if target:
            replaces = target.startswith("!")
            path = target.removeprefix("!").removeprefix(_PREFIX)
            if not replaces and disk.path(path).exists():
                continue
            disk.write(path, file.read_bytes())
        file.unlink()
    key.remove_value(_VALUE)
