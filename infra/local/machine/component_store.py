r"""Files that a servicing package brings: they wait in C:\Windows\WinSxS\Temp\InFlight\<package> and become active while Windows starts."""

from __future__ import annotations

import json
import shutil

from infra.local.machine import cbs
from infra.local.machine.disk import MachineDisk

_STORE = r"C:\Windows\WinSxS\Temp\InFlight"
_MANIFEST = "manifest.json"
_LOG = r"C:\Windows\Logs\CBS\CBS.log"


def stage_files(disk: MachineDisk, identity: str, files: dict[str, bytes], *, rolls_back: bool) -> None:
    """Keep a package's files until the next start; `rolls_back`: an installer of the package will fail then."""
    folder = rf"{_STORE}\{identity}"
    for number, content in enumerate(files.values()):
        disk.write(rf"{folder}\{number}", content)
    disk.write(rf"{folder}\{_MANIFEST}", json.dumps({"paths": list(files), "rolls_back": rolls_back}).encode())


def finish_staged(disk: MachineDisk) -> None:
    """What servicing does with waiting files while Windows starts: put them in place, or undo their package (0x800f0922)."""
    store = disk.path(_STORE)
    for folder in sorted(store.iterdir()) if store.is_dir() else ():
        manifest = json.loads((folder / _MANIFEST).read_bytes())
        if manifest["rolls_back"]:
            cbs.remove_package(disk, folder.name)
            log = disk.path(_LOG)
            before = log.read_bytes() if log.exists() else b""
            line = f"Error CBS Startup: rollback of {folder.name} [HRESULT = 0x800f0922 - CBS_E_INSTALLERS_FAILED]\r\n"
            disk.write(_LOG, before + line.encode())
        else:
            for number, path in enumerate(manifest["paths"]):
                disk.write(path, (folder / str(number)).read_bytes())
        shutil.rmtree(folder)
