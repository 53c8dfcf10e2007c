"""Byte ranges as a file: the same bytes, few requests, little more than is needed, and a bounded memory."""

from __future__ import annotations

import random
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from images.errors import CloudError
from infra.vhd.range_reader import BLOCK_BYTES, RangeReader

CONTENT = random.Random(1).randbytes(1_000_003)


class Server:
    """Serves ranges of CONTENT, and knows which and how many at once."""

    def __init__(self) -> None:
        self.ranges: list[tuple[int, int]] = []

    def fetch(self, offset: int, length: int) -> bytes:
        self.ranges.append((offset, length))
        return CONTENT[offset : offset + length]


@given(st.lists(st.tuples(st.integers(0, len(CONTENT) + 10), st.integers(0, 70_000)), max_size=30), st.integers(10, 60))
@settings(max_examples=200, deadline=None)
def test_any_reads_give_the_bytes_of_the_disk(reads: list[tuple[int, int]], max_blocks: int) -> None:
    with RangeReader(Server().fetch, len(CONTENT), max_blocks=max_blocks, max_ahead_blocks=max_blocks - 1, parallel=1) as reader:
        for number, (offset, length) in enumerate(reads):
            if number % 3 == 0:
                reader.prefetch([(offset, length), (offset + 100_000, length)])
            reader.seek(offset)
            found = b""
            while len(found) < length and (piece := reader.read(length - len(found))):
                found += piece
            assert found == CONTENT[offset : offset + length]


def test_single_small_read_costs_one_block() -> None:
    server = Server()
    with RangeReader(server.fetch, len(CONTENT)) as reader:
        reader.seek(50_000)
        reader.read(10)
    assert server.ranges == [(12 * BLOCK_BYTES, BLOCK_BYTES)]


def test_near_ranges_are_one_request_and_far_ones_are_not() -> None:
    server = Server()
    with RangeReader(server.fetch, len(CONTENT)) as reader:
        reader.prefetch([(0, 100), (3 * BLOCK_BYTES, 1), (500_000, 9000), (len(CONTENT) + 1, 5), (0, 0)])
        assert sorted(server.ranges) == [(0, 4 * BLOCK_BYTES), (122 * BLOCK_BYTES, 3 * BLOCK_BYTES)]
        reader.seek(500_000)
        assert reader.read(9000) == CONTENT[500_000:509_000]
    assert len(server.ranges) == 2


def test_ranges_are_fetched_at_once() -> None:
    together = threading.Barrier(4, timeout=10)

    def fetch(offset: int, length: int) -> bytes:
        together.wait()
        return CONTENT[offset : offset + length]

    with RangeReader(fetch, len(CONTENT), parallel=4) as reader:
        reader.prefetch([(number * 200_000, 10) for number in range(4)])
        assert reader.traffic.requests == 4


def test_two_places_that_are_read_on_in_turns_are_both_fetched_ahead() -> None:
    server = Server()
    with RangeReader(server.fetch, len(CONTENT)) as reader:
        for step in range(80):
            for start in (0, 512_000):
                reader.seek(start + step * BLOCK_BYTES)
                reader.read(BLOCK_BYTES)
    assert len(server.ranges) <= 20


def test_scattered_reads_of_a_dense_place_take_the_rest_of_it() -> None:
    server = Server()
    blocks = list(range(224))
    random.Random(3).shuffle(blocks)
    with RangeReader(server.fetch, len(CONTENT)) as reader:
        for block in blocks:
            reader.seek(block * BLOCK_BYTES)
            reader.read(1024)
        # Small gaps that are in memory already come with their neighbours.
        assert reader.traffic.bytes_read <= 300 * BLOCK_BYTES
    assert len(server.ranges) < 120


def test_more_than_the_memory_holds_is_not_fetched_ahead() -> None:
    with RangeReader(lambda _offset, length: bytes(length), 1 << 40, max_blocks=64, max_ahead_blocks=32) as reader:
        reader.prefetch([(0, 1 << 40)])
        assert reader.traffic.bytes_read <= 32 * BLOCK_BYTES


def test_answer_that_is_too_short_is_a_typed_error() -> None:
    with RangeReader(lambda _offset, _length: b"x", 1 << 20, parallel=1) as reader, pytest.raises(CloudError, match="gave 1 of 4096"):
        reader.read(10)
