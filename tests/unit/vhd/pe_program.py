"""A program file as Go's linker lays it out for Windows, with the build information in its section of data."""

from __future__ import annotations

import struct

# Go's runtime marks the text on both sides (runtime/debug, modinfo); readers cut 16 bytes off each end.
_MARKER = bytes(range(16))
_CODE = 0x6000_0020
_DATA = 0xC000_0040


def make_program(information: str, *, code_bytes: int = 4096, before_information: int = 0) -> bytes:
    """PE headers, `code_bytes` of code, and data that begins with build information (after so many bytes)."""
    data = bytes(before_information) + _build_information(information)
    data += bytes(-len(data) % 512)
    header = bytearray(1024)
    header[:2] = b"MZ"
    header[60:64] = (128).to_bytes(4, "little")
    optional = 240
    struct.pack_into("<4sHHIIIHH", header, 128, b"PE\0\0", 0x8664, 2, 0, 0, 0, optional, 0x22)
    table = 128 + 24 + optional
    struct.pack_into("<8sIIII12xI", header, table, b".text", code_bytes, 0x1000, code_bytes, len(header), _CODE)
    struct.pack_into("<8sIIII12xI", header, table + 40, b".data", len(data), 0x100_0000, len(data), len(header) + code_bytes, _DATA)
    return bytes(header) + b"\xcc" * code_bytes + data


def _build_information(information: str) -> bytes:
    head = (b"\xff Go buildinf:" + bytes([8, 2])).ljust(32, b"\0")
    return head + _text(b"go1.22.5") + _text(_MARKER + information.encode() + _MARKER)


def _text(content: bytes) -> bytes:
    length, prefix = len(content), bytearray()
    while length >= 0x80:
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes([*prefix, length]) + content
