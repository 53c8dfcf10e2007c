"""A machine's disk while it is not a VHD: a folder with the C: tree and the registry.

All that a machine remembers over a restart lies in these two, where Windows keeps it, so that a VHD made from the folder and a folder
made from that VHD hold the same machine.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RegistryData = int | str | list[str] | bytes
HIVES = ("SOFTWARE", "SYSTEM", "SAM")


@dataclass
class RegistryKey:
    """A registry key; names keep their spelling and are found without regard to case."""

    name: str
    values: dict[str, tuple[str, str, RegistryData]] = field(default_factory=dict)
    """lower-case name -> (name as spelled, REG_* type, data)."""
    keys: dict[str, RegistryKey] = field(default_factory=dict)
    """lower-case name -> key."""

    def find(self, path: str) -> RegistryKey | None:
        """The key at a backslash-separated path below this one, or None."""
        key: RegistryKey = self
        for part in filter(None, path.split("\\")):
            found = key.keys.get(part.lower())
            if found is None:
                return None
            key = found
        return key

    def make(self, path: str) -> RegistryKey:
        """The key at a path below this one, made with its parents when absent."""
        key: RegistryKey = self
        for part in filter(None, path.split("\\")):
            key = key.keys.setdefault(part.lower(), RegistryKey(part))
        return key

    def get(self, name: str, default: RegistryData | None = None) -> RegistryData | None:
        """The data of a value, or the default."""
        entry = self.values.get(name.lower())
        return default if entry is None else entry[2]

    def set(self, name: str, data: RegistryData, kind: str = "") -> None:
        """Set a value; the type follows from the data when it is not given."""
        if not kind:
            kind = {int: "REG_DWORD", str: "REG_SZ", list: "REG_MULTI_SZ", bytes: "REG_BINARY"}[type(data)]
        self.values[name.lower()] = (name, kind, data)

    def remove_value(self, name: str) -> bool:
        """True when the value was there."""
        return self.values.pop(name.lower(), None) is not None

    def remove_key(self, name: str) -> bool:
        """True when the subkey was there."""
        return self.keys.pop(name.lower(), None) is not None

    def walk(self, prefix: str = "") -> Iterator[tuple[str, RegistryKey]]:
        """(path, key) of this key and all below it, in the order of their names."""
        yield prefix, self
        for key in sorted(self.keys.values(), key=lambda child: child.name.lower()):
            yield from key.walk(f"{prefix}\\{key.name}" if prefix else key.name)


def _dump(key: RegistryKey) -> dict[str, Any]:
    values = {name: [kind, {"hex": data.hex()} if isinstance(data, bytes) else data] for name, kind, data in key.values.values()}
    return {"values": values, "keys": {child.name: _dump(child) for child in key.keys.values()}}


def _load(name: str, stored: dict[str, Any]) -> RegistryKey:
    key = RegistryKey(name)
    for value, (kind, data) in stored["values"].items():
        key.set(value, bytes.fromhex(data["hex"]) if isinstance(data, dict) else data, kind)
    for child, content in stored["keys"].items():
        key.keys[child.lower()] = _load(child, content)
    return key


class MachineDisk:
    """The folder of one disk: `C/` is the volume, `registry.json` the hives, `disk.json` generation and size."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.c = folder / "C"
        self.hives: dict[str, RegistryKey] = {hive: RegistryKey(hive) for hive in HIVES}
        self.generation = "V1"
        self.size_gib = 30
        self.partition_gib = 30
        """Size of C:; grows to size_gib when the partition is expanded."""

    @classmethod
    def open(cls, folder: Path) -> MachineDisk:
        """The disk in a folder that `save` wrote."""
        disk = cls(folder)
        stored = json.loads((folder / "registry.json").read_text(encoding="utf-8"))
        disk.hives = {hive: _load(hive, stored[hive]) for hive in HIVES}
        about = json.loads((folder / "disk.json").read_text(encoding="utf-8"))
        disk.generation, disk.size_gib, disk.partition_gib = about["generation"], about["size_gib"], about["partition_gib"]
        return disk

    def save(self) -> None:
        """Write registry and description; each file is replaced as a whole, so that a kill leaves the old one."""
        self.c.mkdir(parents=True, exist_ok=True)
        self._replace("registry.json", {hive: _dump(key) for hive, key in self.hives.items()})
        self._replace("disk.json", {"generation": self.generation, "size_gib": self.size_gib, "partition_gib": self.partition_gib})

    def _replace(self, name: str, content: object) -> None:
        part = self.folder / f".{name}.part"
        part.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
        part.replace(self.folder / name)

    def key(self, path: str, *, make: bool = False) -> RegistryKey | None:
        """The key at HKLM:\\HIVE\\…; CurrentControlSet is resolved through Select\\Current."""
        hive, _, rest = path.replace("HKLM:", "", 1).lstrip("\\").partition("\\")
        root = self.hives[hive.upper()]
        if hive.upper() == "SYSTEM" and rest.lower().startswith("currentcontrolset"):
            select = root.find("Select")
            current = select.get("Current", 1) if select else 1
            number = current if isinstance(current, int) else 1
            rest = f"ControlSet{number:03d}{rest[len('CurrentControlSet') :]}"
        return root.make(rest) if make else root.find(rest)

    def make_key(self, path: str) -> RegistryKey:
        """The key at HKLM:\\HIVE\\…, made with its parents when absent."""
        key = self.key(path, make=True)
        assert key is not None
        return key

    def path(self, windows_path: str) -> Path:
        """The file of this machine behind C:\\…, found without regard to case; what does not exist keeps its spelling."""
        parts = [part for part in windows_path.replace("/", "\\").split("\\")[1:] if part]
        if ".." in parts:
            raise ValueError(f"path leaves the volume: {windows_path}")
        current = self.c
        for part in parts:
            candidate = current / part
            if not candidate.exists() and current.is_dir():
                candidate = next((entry for entry in current.iterdir() if entry.name.lower() == part.lower()), candidate)
            current = candidate
        return current

    def write(self, windows_path: str, content: bytes) -> Path:
        """Write a file by replacing it: a snapshot shares files with its disk, so nothing is ever changed in place."""
        target = self.path(windows_path)
        target.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own: two threads may write the same file, such as a layer that two images share.
        part = target.with_name(f".{target.name}.{threading.get_ident():x}.part")
        part.write_bytes(content)
        part.replace(target)
        return target

    def copy_to(self, folder: Path) -> None:
        """Make a copy that shares unchanged files by hard links."""
        shutil.copytree(self.folder, folder, copy_function=os.link)
        for name in ("registry.json", "disk.json"):
            shutil.copy2(self.folder / name, folder / f".{name}.part")
            (folder / f".{name}.part").replace(folder / name)
