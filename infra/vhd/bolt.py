"""Reads bbolt databases (containerd's meta.db) without writing to them.

Source: go.etcd.io/bbolt v1.3, files internal/common/page.go, meta.go and bucket.go (the format has version 2 since boltdb).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from infra.vhd.errors import VhdError
from infra.vhd.source import ByteSource, read_exactly, size_of

_PAGE_HEADER = struct.Struct("<QHHI")
_META = struct.Struct("<IIIIQQQQQQ")
_BRANCH_ELEMENT = struct.Struct("<IIQ")
_LEAF_ELEMENT = struct.Struct("<IIII")
_BUCKET = struct.Struct("<QQ")
_MAGIC = 0xED0CDAED
_VERSION = 2
_BRANCH, _LEAF = 0x01, 0x02
_IS_BUCKET = 0x01
_MAX_DEPTH = 32
_MAX_PAGE_BYTES = 32 * 2**20


@dataclass(frozen=True)
class _Page:
    flags: int
    count: int
    data: bytes


class BoltDatabase:
    """An open database; VhdError when neither of its two meta pages is sound."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._size = size_of(source)
        self._page_size, root = self._newest_meta()
        self._pages_left = 4 * (self._size // self._page_size) + 1000
        self.root = BoltBucket(self, root, None)

    def _newest_meta(self) -> tuple[int, int]:
        found: list[tuple[int, int, int]] = []
        # Page sizes are powers of two; the second meta page lies one page behind the first.
        first = self._meta_at(0)
        candidates = [first[1]] if first else [4096, 8192, 16384, 65536]
        if first:
            found.append(first)
        for page_size in candidates:
            second = self._meta_at(page_size) if 2 * page_size <= self._size else None
            if second and second[1] == page_size:
                found.append(second)
                break
        if not found:
            raise VhdError("the database has no sound meta page", hint="meta.db is damaged")
        _transaction, page_size, root = max(found)
        return page_size, root

    def _meta_at(self, offset: int) -> tuple[int, int, int] | None:
        needed = _PAGE_HEADER.size + _META.size
        if offset + needed > self._size:
            return None
        block = read_exactly(self._source, offset + _PAGE_HEADER.size, _META.size, "meta page")
        magic, version, page_size, _flags, root, _sequence, _freelist, _pages, transaction, stored = _META.unpack(block)
        sound_size = 512 <= page_size <= 65536 and page_size & (page_size - 1) == 0
        if magic != _MAGIC or version != _VERSION or not sound_size or fnv64a(block[:-8]) != stored:
            return None
        return transaction, page_size, root

    def _page(self, number: int) -> _Page:
        self._pages_left -= 1
        if self._pages_left < 0:
            raise VhdError("the database's pages go in circles", hint="meta.db is damaged")
        start = number * self._page_size
        header = read_exactly(self._source, start, _PAGE_HEADER.size, f"page {number}")
        _number, _flags, _count, overflow = _PAGE_HEADER.unpack(header)
        size = (overflow + 1) * self._page_size
        if number < 2 or start + size > self._size or size > _MAX_PAGE_BYTES:
            raise VhdError(f"page {number} of the database leaves the file", hint="meta.db is damaged")
        return parse_page(read_exactly(self._source, start, size, f"page {number}"))


class BoltBucket:
    """A bucket: keys with values, and buckets inside it."""

    def __init__(self, database: BoltDatabase, root: int, inline: bytes | None) -> None:
        self._database = database
        self._root = root
        self._inline = inline

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values in order, buckets left out."""
        return ((key, value) for key, value, flags in self._elements() if not flags & _IS_BUCKET)

    def buckets(self) -> Iterator[tuple[bytes, BoltBucket]]:
        """Buckets inside this one in the order of their names."""
        return ((key, self._nested(value)) for key, value, flags in self._elements() if flags & _IS_BUCKET)

    def bucket(self, name: bytes) -> BoltBucket | None:
        """The bucket of a name inside this one, or None."""
        return next((bucket for key, bucket in self.buckets() if key == name), None)

    def get(self, key: bytes) -> bytes | None:
        """The value of a key, or None."""
        return next((value for found, value in self.items() if found == key), None)

    def _nested(self, value: bytes) -> BoltBucket:
        if len(value) < _BUCKET.size:
            raise VhdError("a bucket of the database is cut short", hint="meta.db is damaged")
        root, _sequence = _BUCKET.unpack_from(value)
        # A small bucket has no page of its own: its page follows the header.
        return BoltBucket(self._database, root, value[_BUCKET.size :] if root == 0 else None)

    def _elements(self) -> Iterator[tuple[bytes, bytes, int]]:
        if self._inline is not None:
            yield from _leaf_elements(parse_page(self._inline))
            return
        waiting = [(self._root, 0)]
        while waiting:
            number, depth = waiting.pop()
            if depth > _MAX_DEPTH:
                raise VhdError("the database's tree is deeper than one can be", hint="meta.db is damaged")
            page = self._database._page(number)
            if page.flags & _LEAF:
                yield from _leaf_elements(page)
            elif page.flags & _BRANCH:
                children = [child for _position, _size, child in _iterate(page, _BRANCH_ELEMENT)]
                waiting.extend((int(child), depth + 1) for child in reversed(children))
            else:
                raise VhdError(f"page {number} of the database is neither branch nor leaf", hint="meta.db is damaged")


def parse_page(data: bytes) -> _Page:
    """A page from its bytes; VhdError when it is too short for what it claims to hold."""
    if len(data) < _PAGE_HEADER.size:
        raise VhdError("a page of the database is cut short", hint="meta.db is damaged")
    _number, flags, count, _overflow = _PAGE_HEADER.unpack_from(data)
    if _PAGE_HEADER.size + count * _LEAF_ELEMENT.size > len(data):
        raise VhdError(f"a page of the database claims {count} elements", hint="meta.db is damaged")
    return _Page(flags, count, data)


def _iterate(page: _Page, layout: struct.Struct) -> Iterator[tuple[int, ...]]:
    for index in range(page.count):
        yield layout.unpack_from(page.data, _PAGE_HEADER.size + index * layout.size)


def _leaf_elements(page: _Page) -> Iterator[tuple[bytes, bytes, int]]:
    for index, (flags, position, key_size, value_size) in enumerate(_iterate(page, _LEAF_ELEMENT)):
        start = _PAGE_HEADER.size + index * _LEAF_ELEMENT.size + position
        if start + key_size + value_size > len(page.data):
            raise VhdError("an element leaves its page of the database", hint="meta.db is damaged")
        key = page.data[start : start + key_size]
        yield key, page.data[start + key_size : start + key_size + value_size], flags


def fnv64a(data: bytes) -> int:
    """64-bit FNV-1a hash, the checksum of meta pages."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFF_FFFF_FFFF_FFFF
    return value
