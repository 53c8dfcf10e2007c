"""The version of a Go program comes from its build information, at the cost of a few kilobytes."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.vhd.errors import VhdError
from infra.vhd.go_programs import build_information
from infra.vhd.range_reader import RangeReader
from tests.unit.vhd.pe_program import make_program

LINES = (
    'path\tgithub.com/containerd/containerd/cmd/containerd\nbuild\t-ldflags="-X github.com/containerd/containerd/version.Version=v1.7.20"\n'
)
PROGRAM = make_program(LINES)


@pytest.mark.parametrize("before", [0, 16, 4096])
def test_build_information_is_found_in_the_data_section(before: int) -> None:
    assert build_information(io.BytesIO(make_program(LINES, before_information=before))) == LINES


def test_code_is_not_read() -> None:
    program = make_program(LINES, code_bytes=40 << 20)
    with RangeReader(lambda offset, length: program[offset : offset + length], len(program), parallel=1) as reader:
        assert build_information(reader) == LINES
        assert reader.traffic.bytes_read <= 64 * 1024


@pytest.mark.parametrize("content", [b"", b"MZ", b"MZ" + bytes(100), b"\x7fELF" + bytes(100), PROGRAM[:1000], PROGRAM[:-600]])
def test_what_is_no_go_program_has_none(content: bytes) -> None:
    assert build_information(io.BytesIO(content)) in {"", LINES}


@given(st.lists(st.tuples(st.integers(0, 1023), st.integers(0, 255)), max_size=12))
@settings(max_examples=300, deadline=None)
def test_damaged_headers_are_survived(patches: list[tuple[int, int]]) -> None:
    content = bytearray(PROGRAM)
    for position, byte in patches:
        content[position] = byte
    try:
        assert build_information(io.BytesIO(bytes(content))) in {"", LINES}
    except VhdError as error:
        assert "program" in str(error)
