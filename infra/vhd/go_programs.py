"""The build information inside Go programs for Windows, found without reading the whole program.

Sources: Go, debug/buildinfo/buildinfo.go (since Go 1.18 the linker puts it at the start of the first writable data section: 14 bytes of
magic, pointer size, flags, and from byte 32 on two texts, each after its length as an unsigned varint; the second one has 16 marker
bytes before and after); Microsoft, PE Format (offsets of headers and sections).
"""

from __future__ import annotations

import struct

from infra.vhd.source import ByteSource, read_exactly, size_of

_MAGIC = b"\xff Go buildinf:"
_ALIGNMENT = 16
_HEADER_BYTES = 32
_INLINE_TEXTS = 0x2
_SEARCHED_BYTES = 64 * 1024
_MAX_TEXT_BYTES = 256 * 1024
_MARKER_BYTES = 16
_SECTION = struct.Struct("<8sIIII12xI")
_MAX_SECTIONS = 96
# IMAGE_SCN_CNT_INITIALIZED_DATA, IMAGE_SCN_MEM_READ, IMAGE_SCN_MEM_WRITE
_WRITABLE_DATA = 0x0000_0040 | 0x4000_0000 | 0x8000_0000


def build_information(program: ByteSource) -> str:
    """Modules and build settings as `go version -m` shows them, one a line; '' when it is no PE program that says so."""
    size = size_of(program)
    section = _data_section(program, size)
    if section is None:
        return ""
    start, length = section
    searched = read_exactly(program, start, min(length, _SEARCHED_BYTES, max(0, size - start)), "data of a program")
    at = searched.find(_MAGIC)
    while at >= 0 and at % _ALIGNMENT:
        at = searched.find(_MAGIC, at + 1)
    if at < 0 or at + _HEADER_BYTES > len(searched) or not searched[at + 15] & _INLINE_TEXTS:
        return ""
    version = _text(program, start + at + _HEADER_BYTES, size)
    if version is None:
        return ""
    modules = _text(program, version[1], size)
    if modules is None or len(modules[0]) < 2 * _MARKER_BYTES:
        return ""
    return modules[0][_MARKER_BYTES:-_MARKER_BYTES].decode(errors="replace")


def _data_section(program: ByteSource, size: int) -> tuple[int, int] | None:
    """(offset, length) in the file of the first section of writable data."""
    if size < 64:
        return None
    dos = read_exactly(program, 0, 64, "header of a program")
    header = struct.unpack_from("<I", dos, 60)[0]
    if dos[:2] != b"MZ" or header + 24 > size:
        return None
    signature, _machine, count, optional_size = struct.unpack("<4sHH12xH2x", read_exactly(program, header, 24, "header of a program"))
    table = header + 24 + optional_size
    if signature != b"PE\0\0" or count > _MAX_SECTIONS or table + 40 * count > size:
        return None
    content = read_exactly(program, table, 40 * count, "section table of a program")
    for index in range(count):
        _name, _virtual_size, _address, raw_size, raw_offset, flags = _SECTION.unpack_from(content, 40 * index)
        if flags & _WRITABLE_DATA == _WRITABLE_DATA and raw_size and raw_offset < size:
            return raw_offset, raw_size
    return None


def _text(program: ByteSource, offset: int, size: int) -> tuple[bytes, int] | None:
    """A text with its length before it, and where it ends."""
    head = read_exactly(program, offset, min(10, max(0, size - offset)), "build information of a program")
    length = 0
    for index, byte in enumerate(head):
        length |= (byte & 0x7F) << (7 * index)
        if not byte & 0x80:
            start = offset + index + 1
            if length > _MAX_TEXT_BYTES or start + length > size:
                return None
            return read_exactly(program, start, length, "build information of a program"), start + length
    return None
