"""A bbolt database file, written in one go and read back: the format of containerd's metadata.

Layout (go.etcd.io/bbolt, page.go, bucket.go, db.go): pages of 4096 bytes; two meta pages with magic 0xED0CDAED, version 2 and an FNV-1a
checksum over their first 56 bytes; a freelist page; branch and leaf pages whose elements point at keys and values behind them. A bucket is
a leaf element with flag 1 whose value is a 16-byte header (root page, sequence), followed by the page itself when it is stored inline.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

PAGE_SIZE = 4096
_MAGIC, _VERSION = 0xED0CDAED, 2
_BRANCH, _LEAF, _META, _FREELIST = 0x01, 0x02, 0x04, 0x10
_BUCKET = 0x01
_PAGE_HEADER = struct.Struct("<QHHI")
_LEAF_ELEMENT = struct.Struct("<IIII")
_BRANCH_ELEMENT = struct.Struct("<IIQ")
_BUCKET_HEADER = struct.Struct("<QQ")
_META_BODY = struct.Struct("<IIIIQQQQQ")
_INLINE_LIMIT = PAGE_SIZE // 4
"""bbolt keeps a bucket inside its parent when it has no buckets of its own and takes no more than a quarter of a page."""

Tree = Mapping[bytes, "bytes | Tree"]
"""A bucket: keys with values or with buckets."""


class BoltFormatError(ValueError):
    """The bytes are not a sound bbolt database."""


def write_database(root: Tree) -> bytes:
    """The bytes of a database whose root bucket holds the tree; keys are sorted as bbolt wants them."""
    writer = _Writer()
    root_page = writer.bucket(root)
    freelist = writer.allocate(1)
    writer.put(freelist, _FREELIST, 0, b"")
    used = writer.next_page
    pages = bytearray(used * PAGE_SIZE)
    for transaction in (0, 1):
        body = _META_BODY.pack(_MAGIC, _VERSION, PAGE_SIZE, 0, root_page, 0, freelist, used, transaction)
        meta = _PAGE_HEADER.pack(transaction, _META, 0, 0) + body + struct.pack("<Q", _fnv1a(body))
        pages[transaction * PAGE_SIZE : transaction * PAGE_SIZE + len(meta)] = meta
    for number, content in writer.pages.items():
        pages[number * PAGE_SIZE : number * PAGE_SIZE + len(content)] = content
    return bytes(pages)


class _Writer:
    def __init__(self) -> None:
        self.pages: dict[int, bytes] = {}
        self.next_page = 2

    def allocate(self, count: int) -> int:
        first = self.next_page
        self.next_page += count
        return first

    def put(self, page: int, flags: int, count: int, content: bytes) -> None:
        overflow = (len(content) + _PAGE_HEADER.size - 1) // PAGE_SIZE
        self.pages[page] = _PAGE_HEADER.pack(page, flags, count, overflow) + content

    def store(self, flags: int, count: int, content: bytes) -> int:
        page = self.allocate((len(content) + _PAGE_HEADER.size + PAGE_SIZE - 1) // PAGE_SIZE)
        self.put(page, flags, count, content)
        return page

    def bucket(self, tree: Tree) -> int:
        """Write a bucket as pages of its own; its root page."""
        items = [(key, *self._value(value)) for key, value in sorted(tree.items())]
        level = [(group[0][0] if group else b"", self.store(_LEAF, len(group), _leaf(group))) for group in _groups(items)]
        while len(level) > 1:
            level = [
                (part[0][0], self.store(_BRANCH, len(part), _branch(part)))
                for part in (level[start : start + _FANOUT] for start in range(0, len(level), _FANOUT))
            ]
        return level[0][1]

    def _value(self, value: bytes | Tree) -> tuple[int, bytes]:
        if isinstance(value, bytes):
            return 0, value
        if all(isinstance(inner, bytes) for inner in value.values()):
            items = [(key, 0, inner) for key, inner in sorted(value.items()) if isinstance(inner, bytes)]
            content = _leaf(items)
            if _PAGE_HEADER.size + len(content) <= _INLINE_LIMIT:
                return _BUCKET, _BUCKET_HEADER.pack(0, 0) + _PAGE_HEADER.pack(0, _LEAF, len(items), 0) + content
        return _BUCKET, _BUCKET_HEADER.pack(self.bucket(value), 0)


_FANOUT = 32
_Item = tuple[bytes, int, bytes]


def _groups(items: list[_Item]) -> list[list[_Item]]:
    """Items split into leaves of about one page; a value that is larger gets a page with overflow."""
    groups: list[list[_Item]] = [[]]
    size = _PAGE_HEADER.size
    for item in items:
        needed = _LEAF_ELEMENT.size + len(item[0]) + len(item[2])
        if groups[-1] and size + needed > PAGE_SIZE:
            groups.append([])
            size = _PAGE_HEADER.size
        groups[-1].append(item)
        size += needed
    return groups


def _leaf(items: list[_Item]) -> bytes:
    elements, data = bytearray(), bytearray()
    for index, (key, flags, value) in enumerate(items):
        # An element's position counts from the element itself.
        position = (len(items) - index) * _LEAF_ELEMENT.size + len(data)
        elements += _LEAF_ELEMENT.pack(flags, position, len(key), len(value))
        data += key + value
    return bytes(elements + data)


def _branch(children: list[tuple[bytes, int]]) -> bytes:
    elements, data = bytearray(), bytearray()
    for index, (key, page) in enumerate(children):
        position = (len(children) - index) * _BRANCH_ELEMENT.size + len(data)
        elements += _BRANCH_ELEMENT.pack(position, len(key), page)
        data += key
    return bytes(elements + data)


def _fnv1a(data: bytes) -> int:
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


def read_database(raw: bytes) -> dict[bytes, bytes | Tree]:
    """The tree of a database that write_database or bbolt wrote; BoltFormatError when it is not sound."""
    try:
        roots = []
        for page in (0, 1):
            body = raw[page * PAGE_SIZE + _PAGE_HEADER.size :][: _META_BODY.size]
            checksum = struct.unpack_from("<Q", raw, page * PAGE_SIZE + _PAGE_HEADER.size + _META_BODY.size)[0]
            fields = _META_BODY.unpack(body)
            if fields[0] == _MAGIC and fields[1] == _VERSION and fields[2] == PAGE_SIZE and checksum == _fnv1a(body):
                roots.append((fields[8], fields[4]))
        if not roots:
            raise BoltFormatError("no valid meta page")
        return _read_pages(raw, max(roots)[1], depth=0)
    except struct.error as error:
        raise BoltFormatError("the database ends too early") from error


def _read_pages(raw: bytes, page: int, *, depth: int) -> dict[bytes, bytes | Tree]:
    overflow = _PAGE_HEADER.unpack_from(raw, page * PAGE_SIZE)[3]
    return _read_page(raw, raw[page * PAGE_SIZE : (page + 1 + overflow) * PAGE_SIZE], depth=depth)


def _read_page(raw: bytes, page: bytes, *, depth: int) -> dict[bytes, bytes | Tree]:
    if depth > 32:
        raise BoltFormatError("buckets or pages refer to themselves")
    _, flags, count, _ = _PAGE_HEADER.unpack_from(page)
    found: dict[bytes, bytes | Tree] = {}
    for index in range(count):
        if flags & _BRANCH:
            at = _PAGE_HEADER.size + index * _BRANCH_ELEMENT.size
            found |= _read_pages(raw, _BRANCH_ELEMENT.unpack_from(page, at)[2], depth=depth + 1)
            continue
        at = _PAGE_HEADER.size + index * _LEAF_ELEMENT.size
        kind, position, key_size, value_size = _LEAF_ELEMENT.unpack_from(page, at)
        key = page[at + position : at + position + key_size]
        value = page[at + position + key_size : at + position + key_size + value_size]
        if not kind & _BUCKET:
            found[key] = value
            continue
        root = _BUCKET_HEADER.unpack_from(value)[0]
        inline = value[_BUCKET_HEADER.size :]
        found[key] = _read_pages(raw, root, depth=depth + 1) if root else _read_page(raw, inline, depth=depth + 1)
    return found
