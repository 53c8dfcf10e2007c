r"""Registry hives of a Windows volume (C:\Windows\System32\config), read through libregf.

The records of values follow M. Suhanov, Windows registry file format specification (https://github.com/msuhanov/regf).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import pyregf

from infra.vhd import windows_places as places
from infra.vhd.block_cache import BlockCache
from infra.vhd.errors import VhdError, VhdNotFoundError
from infra.vhd.ntfs import NtfsVolume
from infra.vhd.source import ByteSource, Window, library_errors, read_exactly, size_of, text_of

MAX_DEPTH = 128
MAX_KEYS = 4_000_000
MAX_VALUE_BYTES = 16 * 2**20
RegistryData = int | str | list[str] | bytes
_BASE_BLOCK = 4096
# Keys lie where there was room: small blocks keep a hive of 100 MB from being read whole, and 16 MiB of them are enough.
_BLOCK_BYTES = 16 * 1024
_MAX_BLOCKS = 1024
_FIRST_BYTES = 128 * 1024
_INLINE = 0x8000_0000
_PIECE_BYTES = 16344
_VALUE_RECORD = struct.Struct("<2sHIII")
_PIECES = struct.Struct("<2sHI")

# https://learn.microsoft.com/en-us/windows/win32/sysinfo/registry-value-types
VALUE_TYPES = {
    0: "REG_NONE",
    1: "REG_SZ",
    2: "REG_EXPAND_SZ",
    3: "REG_BINARY",
    4: "REG_DWORD",
    5: "REG_DWORD_BIG_ENDIAN",
    6: "REG_LINK",
    7: "REG_MULTI_SZ",
    8: "REG_RESOURCE_LIST",
    9: "REG_FULL_RESOURCE_DESCRIPTOR",
    10: "REG_RESOURCE_REQUIREMENTS_LIST",
    11: "REG_QWORD",
}


@dataclass(frozen=True)
class HiveValue:
    """A value as spelled; `type` is REG_…, data that does not fit its type stays bytes."""

    name: str
    type: str
    data: RegistryData


class HiveKey:
    """A key of an open hive."""

    def __init__(self, key: Any, window: Window, path: str) -> None:
        self._key = key
        self._window = window
        self.path = path

    @property
    def name(self) -> str:
        """Last part of the path; empty for the root."""
        return self.path.rpartition("\\")[2]

    def subkeys(self) -> Iterator[HiveKey]:
        """Subkeys in the order of the hive (by name)."""
        with library_errors(self._window, f"key {self.path}"):
            count = self._key.number_of_sub_keys
        if count > MAX_KEYS:
            raise VhdError(f"key {self.path} claims {count} subkeys")
        for index in range(count):
            with library_errors(self._window, f"key {self.path}"):
                key = self._key.get_sub_key(index)
                name = text_of(key.name)
            yield HiveKey(key, self._window, f"{self.path}\\{name}" if self.path else name)

    def values(self) -> Iterator[HiveValue]:
        """Values in the order in which they were set; the default value has the name ''."""
        with library_errors(self._window, f"key {self.path}"):
            count = self._key.number_of_values
        if count > MAX_KEYS:
            raise VhdError(f"key {self.path} claims {count} values")
        for index in range(count):
            with library_errors(self._window, f"key {self.path}"):
                value = self._key.get_value(index)
                yield self._typed(value)

    def find(self, path: str) -> HiveKey | None:
        """The key at a path below this one in any case, or None."""
        current: HiveKey | None = self
        for part in filter(None, path.split("\\")):
            if current is None:
                return None
            current = current._child(part)
        return current

    def require(self, path: str) -> HiveKey:
        """The key at a path; VhdNotFoundError when it is not there."""
        found = self.find(path)
        if found is None:
            raise VhdNotFoundError(f"no key {path} in the registry hive")
        return found

    def get(self, name: str) -> RegistryData | None:
        """Data of a value by its name in any case, or None."""
        wanted = name.casefold()
        return next((value.data for value in self.values() if value.name.casefold() == wanted), None)

    def text(self, name: str) -> str:
        """Data of a value when it is text, else ''."""
        data = self.get(name)
        return data if isinstance(data, str) else ""

    def number(self, name: str) -> int | None:
        """Data of a value when it is a number, else None."""
        data = self.get(name)
        return data if isinstance(data, int) else None

    def walk(self) -> Iterator[HiveKey]:
        """This key and all below it; VhdError when a damaged hive makes that endless."""
        waiting = [(self, 0)]
        count = 0
        seen: set[int] = set()
        while waiting:
            key, depth = waiting.pop()
            count += 1
            with library_errors(self._window, f"key {key.path}"):
                offset = int(key._key.offset)
            if depth > MAX_DEPTH or count > MAX_KEYS or offset in seen:
                raise VhdError(f"key {key.path[:200]} is its own parent, has two, or lies too deep", hint="the registry hive is damaged")
            seen.add(offset)
            yield key
            waiting.extend((child, depth + 1) for child in reversed(list(key.subkeys())))

    def _child(self, name: str) -> HiveKey | None:
        # libregf finds a key by the hash and the name in upper case, without reading its siblings.
        with library_errors(self._window, f"key {self.path}"):
            key = self._key.get_sub_key_by_name(name)
        if key is None:
            return None
        spelled = text_of(key.name)
        return HiveKey(key, self._window, f"{self.path}\\{spelled}" if self.path else spelled)

    def _typed(self, value: Any) -> HiveValue:
        kind, raw = self._raw(value.offset)
        return HiveValue(text_of(value.name or ""), VALUE_TYPES.get(kind, f"REG_{kind:#x}"), decode_value(kind, raw))

    def _raw(self, offset: int) -> tuple[int, bytes]:
        # The record itself is read here: libregf 20260526 gives other bytes for data of one to three bytes, which lie in the record, and
        # drops the last piece of data cut in pieces when that piece is shorter than four bytes.
        record = read_exactly(self._window, offset, _VALUE_RECORD.size, f"value of key {self.path}")
        signature, _name_size, size, place, kind = _VALUE_RECORD.unpack(record)
        if signature != b"vk":
            raise VhdError(f"key {self.path[:200]} has a value that is none", hint="the registry hive is damaged")
        if size & _INLINE:
            return kind, record[8 : 8 + min(size & ~_INLINE, 4)]
        if size > MAX_VALUE_BYTES:
            raise VhdError(f"a value of key {self.path[:200]} claims {size} bytes", hint="the registry hive is damaged")
        if not size:
            return kind, b""
        if size <= _PIECE_BYTES:
            return kind, self._cell(place, size)
        head = self._cell(place, _PIECES.size)
        marker, count, table_place = _PIECES.unpack(head)
        if marker != b"db":
            return kind, self._cell(place, size)
        if count != -(-size // _PIECE_BYTES):
            raise VhdError(f"a value of key {self.path[:200]} has {count} pieces for {size} bytes", hint="the registry hive is damaged")
        table = struct.unpack(f"<{count}I", self._cell(table_place, 4 * count))
        return kind, b"".join(self._cell(piece, min(_PIECE_BYTES, size - index * _PIECE_BYTES)) for index, piece in enumerate(table))

    def _cell(self, place: int, size: int) -> bytes:
        # Places count from the end of the base block; a cell begins with its size.
        return read_exactly(self._window, _BASE_BLOCK + place + 4, size, f"value of key {self.path[:200]}")


class Hive:
    """An open hive; use it as a context manager."""

    def __init__(self, source: ByteSource, name: str) -> None:
        self.name = name
        size = size_of(source)
        base = read_exactly(source, 0, min(size, 512), f"hive {name}")
        if base[:4] != b"regf" or len(base) < 512:
            raise VhdError(f"{name} is no registry hive")
        primary, secondary = struct.unpack_from("<II", base, 4)
        self.is_dirty = primary != secondary
        """True when Windows had not finished writing: the newest changes are then in the .LOG files only."""
        self._window = Window(BlockCache(source, block_bytes=_BLOCK_BYTES, max_blocks=_MAX_BLOCKS), 0, size)
        self._file = pyregf.file()
        with library_errors(self._window, f"hive {name}"):
            self._file.open_file_object(self._window)
            self.root = HiveKey(self._file.get_root_key(), self._window, "")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the hive; the source stays open."""
        self._file.close()

    def control_set(self) -> HiveKey:
        r"""Key of the control set that SYSTEM\Select\Current names, which a running Windows calls CurrentControlSet."""
        number = self.root.require("Select").number("Current")
        return self.root.require(f"ControlSet{number or 1:03d}")


def open_hive(volume: NtfsVolume, name: str) -> Hive:
    """The hive SOFTWARE, SYSTEM, SAM … of a Windows volume; VhdNotFoundError when there is none."""
    entry = volume.require(f"{places.CONFIG_FOLDER}\\{name}")
    volume.prefetch([entry], max_bytes_each=_FIRST_BYTES)
    return Hive(volume.open_file(entry), name)


def decode_value(kind: int, raw: bytes) -> RegistryData:
    """A value's data by its type: numbers, text without its end mark, lists of text; anything that does not fit stays bytes."""
    if kind in (4, 5) and len(raw) == 4:
        return int.from_bytes(raw, "little" if kind == 4 else "big")
    if kind == 11 and len(raw) == 8:
        return int.from_bytes(raw, "little")
    if kind in (1, 2, 6, 7) and len(raw) % 2 == 0:
        try:
            text = raw.decode("utf-16-le")
        except UnicodeDecodeError:
            return raw
        if kind != 7:
            return text.removesuffix("\0")
        # Each text ends with a NUL, and the list with one more.
        text = text.removesuffix("\0").removesuffix("\0") if text.endswith("\0\0") else text.removesuffix("\0")
        return text.split("\0") if text else []
    return raw
