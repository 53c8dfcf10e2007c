import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.local.machine.bolt import PAGE_SIZE, BoltFormatError, Tree, read_database, write_database

KEYS = st.binary(min_size=1, max_size=40)
TREES: st.SearchStrategy[Tree] = st.recursive(
    st.dictionaries(KEYS, st.binary(max_size=3000), max_size=8),
    lambda inner: st.dictionaries(KEYS, st.one_of(st.binary(max_size=50), inner), max_size=5),
    max_leaves=12,
)


@given(TREES)
@settings(max_examples=60, deadline=None)
def test_what_was_written_is_read_back(tree: Tree) -> None:
    raw = write_database(tree)
    assert len(raw) % PAGE_SIZE == 0
    assert read_database(raw) == tree


def test_many_keys_need_branch_pages() -> None:
    tree: Tree = {b"images": {f"image-{number:05}".encode(): {b"target": {b"digest": b"d" * 71}} for number in range(3000)}}
    assert read_database(write_database(tree)) == tree


def test_the_newer_of_two_meta_pages_counts_and_one_may_be_damaged() -> None:
    raw = bytearray(write_database({b"a": b"1"}))
    raw[PAGE_SIZE + 40] ^= 0xFF
    assert read_database(bytes(raw)) == {b"a": b"1"}
    raw[40] ^= 0xFF
    with pytest.raises(BoltFormatError, match="meta page"):
        read_database(bytes(raw))


def test_a_truncated_database_is_a_format_error() -> None:
    with pytest.raises(BoltFormatError):
        read_database(write_database({b"a": b"1"})[:100])
