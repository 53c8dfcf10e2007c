"""Writes registry hives (REGF): the file format of the Windows registry, version 1.5.

Sources: M. Suhanov, Windows registry file format specification
(https://github.com/msuhanov/regf/blob/master/Windows%20registry%20file%20format%20specification.md), and J. Metz, libregf,
Windows NT Registry File (REGF) format.
"""

from __future__ import annotations

import struct
from datetime import datetime

from infra.local.machine.disk import RegistryData, RegistryKey
from infra.vhd.hives import VALUE_TYPES

_BLOCK = 4096
_BIN_HEADER = 32
_BIG_DATA_LIMIT = 16344
"""Data beyond this size is cut into pieces (hive version 1.4 and later)."""
_MAX_LEAF = 500
"""Elements of one leaf: small enough that a leaf stays within a bin of one block."""
_NO_CELL = 0xFFFF_FFFF
_INLINE = 0x8000_0000
_KEY_ASCII = 0x20
_KEY_ROOT = 0x0C
"""Root key of a hive (0x04) that can not be deleted (0x08)."""
_VALUE_ASCII = 1
_TYPE_NUMBERS = {name: number for number, name in VALUE_TYPES.items()}
_FILETIME_EPOCH = 116_444_736_000_000_000
# Owner and group Administrators; full control for SYSTEM and Administrators, read for Users; inherited by subkeys.
# Self-relative SECURITY_DESCRIPTOR, https://learn.microsoft.com/en-us/windows/win32/api/winnt/ns-winnt-security_descriptor
_ADMINISTRATORS = bytes.fromhex("01020000000000052000000020020000")
_USERS = bytes.fromhex("01020000000000052000000021020000")
_SYSTEM = bytes.fromhex("010100000000000512000000")
_ALL_ACCESS = 0x000F_003F
_READ = 0x0002_0019


def make_hive(root: RegistryKey, file_name: str, written: datetime) -> bytes:
    """A hive file with all keys and values below `root`; the same arguments give the same bytes.

    Raises ValueError for a number that does not fit its type, and KeyError for an unknown REG_ type.
    """
    return _HiveWriter(int(written.timestamp() * 10_000_000) + _FILETIME_EPOCH).build(root, file_name)


class _HiveWriter:
    def __init__(self, filetime: int) -> None:
        self._filetime = filetime
        self._data = bytearray()
        self._bin_start = 0
        self._bin_end = 0
        self._security = 0

    def build(self, root: RegistryKey, file_name: str) -> bytes:
        root_cell = self._key(root, parent=_NO_CELL, is_root=True)
        self._close_bin()
        return self._base_block(root_cell, file_name) + bytes(self._data)

    # Cells: every record lies in one, 8-byte aligned, behind its size (negative: in use); none crosses the end of its bin.

    def _cell(self, content: bytes) -> int:
        size = -(-(len(content) + 4) // 8) * 8
        if len(self._data) + size > self._bin_end:
            self._open_bin(size)
        offset = len(self._data)
        self._data += struct.pack("<i", -size) + content.ljust(size - 4, b"\0")
        return offset

    def _open_bin(self, needed: int) -> None:
        self._close_bin()
        size = -(-(needed + _BIN_HEADER) // _BLOCK) * _BLOCK
        self._bin_start = len(self._data)
        self._bin_end = self._bin_start + size
        self._data += struct.pack("<4sIIQQI", b"hbin", self._bin_start, size, 0, self._filetime, 0)

    def _close_bin(self) -> None:
        free = self._bin_end - len(self._data)
        if free:
            self._data += struct.pack("<i", free).ljust(free, b"\0")

    # Records.

    def _key(self, key: RegistryKey, parent: int, *, is_root: bool = False) -> int:
        children = sorted(key.keys.values(), key=lambda child: child.name.upper())
        values = list(key.values.values())
        name, ascii_name = _encode_name(key.name)
        flags = (_KEY_ROOT if is_root else 0) | (_KEY_ASCII if ascii_name else 0)
        longest_child = max((2 * len(child.name) for child in children), default=0)
        longest_value = max((2 * len(spelled) for spelled, _, _ in values), default=0)
        encoded = [encode_value(kind, data) for _, kind, data in values]
        record = bytearray(
            struct.pack(
                "<2sHQIIIIIIIIIIIIIIIHH",
                b"nk",
                flags,
                self._filetime,
                0,
                parent,
                len(children),
                0,
                _NO_CELL,
                _NO_CELL,
                len(values),
                _NO_CELL,
                _NO_CELL,
                _NO_CELL,
                longest_child,
                0,
                longest_value,
                max(map(len, encoded), default=0),
                0,
                len(name),
                0,
            )
            + name
        )
        cell = self._cell(bytes(record))
        self._patch(cell, 44, self._security_cell() if is_root else self._security)
        if values:
            cells = [self._value(spelled, kind, data) for (spelled, kind, _), data in zip(values, encoded, strict=True)]
            self._patch(cell, 40, self._cell(struct.pack(f"<{len(cells)}I", *cells)))
        if children:
            cells = [self._key(child, parent=cell) for child in children]
            self._patch(cell, 28, self._subkey_list(children, cells))
        return cell

    def _patch(self, cell: int, field: int, value: int) -> None:
        struct.pack_into("<I", self._data, cell + 4 + field, value)

    def _subkey_list(self, children: list[RegistryKey], cells: list[int]) -> int:
        leaves = []
        for start in range(0, len(cells), _MAX_LEAF):
            part = zip(children[start : start + _MAX_LEAF], cells[start : start + _MAX_LEAF], strict=True)
            elements = b"".join(struct.pack("<II", cell, _name_hash(child.name)) for child, cell in part)
            leaves.append(self._cell(struct.pack("<2sH", b"lh", len(elements) // 8) + elements))
        if len(leaves) == 1:
            return leaves[0]
        return self._cell(struct.pack(f"<2sH{len(leaves)}I", b"ri", len(leaves), *leaves))

    def _value(self, spelled: str, kind: str, data: bytes) -> int:
        name, ascii_name = _encode_name(spelled)
        if len(data) <= 4:
            size, place = len(data) | _INLINE, int.from_bytes(data.ljust(4, b"\0"), "little")
        else:
            size, place = len(data), self._big_data(data) if len(data) > _BIG_DATA_LIMIT else self._cell(data)
        flags = _VALUE_ASCII if ascii_name else 0
        return self._cell(struct.pack("<2sHIIIHH", b"vk", len(name), size, place, _type_number(kind), flags, 0) + name)

    def _big_data(self, data: bytes) -> int:
        pieces = [self._cell(data[start : start + _BIG_DATA_LIMIT]) for start in range(0, len(data), _BIG_DATA_LIMIT)]
        pieces_cell = self._cell(struct.pack(f"<{len(pieces)}I", *pieces))
        return self._cell(struct.pack("<2sHII", b"db", len(pieces), pieces_cell, 0))

    def _security_cell(self) -> int:
        # One security descriptor, shared by every key; its neighbours in the ring of descriptors are itself.
        descriptor = _security_descriptor()
        self._security = self._cell(struct.pack("<2sHIIII", b"sk", 0, 0, 0, 1, len(descriptor)) + descriptor)
        self._patch(self._security, 4, self._security)
        self._patch(self._security, 8, self._security)
        return self._security

    def _base_block(self, root_cell: int, file_name: str) -> bytes:
        block = bytearray(_BLOCK)
        struct.pack_into("<4sIIQIIIIIII", block, 0, b"regf", 1, 1, self._filetime, 1, 5, 0, 1, root_cell, len(self._data), 1)
        name = file_name.encode("utf-16-le")[-62:]
        block[48 : 48 + len(name)] = name
        total = 0
        for (word,) in struct.iter_unpack("<I", bytes(block[:508])):
            total ^= word
        # The specification keeps 0 and -1 for "no checksum".
        struct.pack_into("<I", block, 508, {0: 1, 0xFFFF_FFFF: 0xFFFF_FFFE}.get(total, total))
        return bytes(block)


def encode_value(kind: str, data: RegistryData) -> bytes:
    """The bytes of a value as the registry stores them; bytes stay as they are whatever the type."""
    if isinstance(data, bytes):
        return data
    if isinstance(data, list):
        return ("".join(f"{text}\0" for text in data) + "\0").encode("utf-16-le", "surrogatepass")
    if isinstance(data, str):
        return f"{data}\0".encode("utf-16-le", "surrogatepass")
    size = 8 if kind == "REG_QWORD" else 4
    if not 0 <= data < 1 << (8 * size):
        raise ValueError(f"{data} does not fit {kind}")
    return data.to_bytes(size, "big" if kind == "REG_DWORD_BIG_ENDIAN" else "little")


def _type_number(kind: str) -> int:
    return int(kind[4:], 16) if kind.startswith("REG_0x") else _TYPE_NUMBERS[kind]


def _encode_name(name: str) -> tuple[bytes, bool]:
    return (name.encode("ascii"), True) if name.isascii() else (name.encode("utf-16-le"), False)


def _name_hash(name: str) -> int:
    value = 0
    for unit in struct.iter_unpack("<H", name.upper().encode("utf-16-le")):
        value = (value * 37 + unit[0]) & 0xFFFF_FFFF
    return value


def _security_descriptor() -> bytes:
    container_inherit = 0x02
    entries = b"".join(
        struct.pack("<BBHI", 0, container_inherit, 8 + len(sid), mask) + sid
        for sid, mask in ((_SYSTEM, _ALL_ACCESS), (_ADMINISTRATORS, _ALL_ACCESS), (_USERS, _READ))
    )
    acl = struct.pack("<BBHHH", 2, 0, 8 + len(entries), 3, 0) + entries
    self_relative_dacl_present = 0x8004
    owner, group = 20, 20 + len(_ADMINISTRATORS)
    header = struct.pack("<BBHIIII", 1, 0, self_relative_dacl_present, owner, group, 0, group + len(_ADMINISTRATORS))
    return header + _ADMINISTRATORS * 2 + acl
