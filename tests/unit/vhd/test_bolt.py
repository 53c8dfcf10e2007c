"""Reading bbolt databases."""

from __future__ import annotations

import contextlib
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.local.machine.bolt import Tree, write_database
from infra.vhd.bolt import BoltBucket, BoltDatabase, fnv64a
from infra.vhd.content_store import decode_varint
from infra.vhd.errors import VhdError


def _tree(bucket: BoltBucket) -> dict[bytes, object]:
    return {**dict(bucket.items()), **{name: _tree(inner) for name, inner in bucket.buckets()}}


TREE: Tree = {
    b"v1": {
        b"k8s.io": {b"images": {f"image-{number:04d}".encode(): {b"target": {b"digest": b"d" * 71}} for number in range(500)}},
        b"large": b"x" * 20000,
        b"empty": {},
    }
}


def test_database_is_read_back_with_nested_buckets_branches_and_overflow() -> None:
    assert _tree(BoltDatabase(io.BytesIO(write_database(TREE))).root) == TREE


def test_one_damaged_meta_page_does_not_matter_but_two_do() -> None:
    content = bytearray(write_database(TREE))
    content[20] ^= 1
    assert BoltDatabase(io.BytesIO(bytes(content))).root.bucket(b"v1") is not None
    content[4096 + 20] ^= 1
    with pytest.raises(VhdError, match="meta page"):
        BoltDatabase(io.BytesIO(bytes(content)))


DATABASE = write_database(TREE)


def test_pointer_beyond_any_file_is_a_typed_error() -> None:
    content = bytearray(DATABASE)
    # Meta pages name the root page at offset 16 of their body.
    for page in (0, 4096):
        content[page + 32 : page + 40] = (2**56).to_bytes(8, "little")
        content[page + 16 + 56 : page + 16 + 64] = fnv64a(bytes(content[page + 16 : page + 16 + 56])).to_bytes(8, "little")
    with pytest.raises(VhdError):
        _tree(BoltDatabase(io.BytesIO(bytes(content))).root)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_damaged_database_is_a_typed_error_or_another_tree(data: st.DataObject) -> None:
    content = bytearray(DATABASE)
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(8192, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(VhdError):
        _tree(BoltDatabase(io.BytesIO(bytes(content))).root)


@pytest.mark.parametrize(
    ("raw", "value"), [(b"", 0), (b"\x00", 0), (b"\x02", 1), (b"\x01", -1), (b"\x80\x02", 128), (b"\xff" * 30, -(2**69))]
)
def test_varint_is_go_s(raw: bytes, value: int) -> None:
    assert decode_varint(raw) == value
