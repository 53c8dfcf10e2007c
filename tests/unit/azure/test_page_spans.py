"""Arithmetic of page ranges: what is there, what is missing, how it is cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from infra.azure.page_blob import Span, chunks, missing

PAGE = 512


def _cover(spans: list[Span]) -> set[int]:
    return {page for span in spans for page in range(span.start // PAGE, span.end // PAGE)}


spans = st.lists(st.integers(0, 60), max_size=20, unique=True).map(
    lambda edges: [Span(start * PAGE, end * PAGE) for start, end in zip(sorted(edges)[::2], sorted(edges)[1::2], strict=False)]
)


@given(wanted=spans, there=spans)
def test_missing_is_exactly_what_is_not_there(wanted: list[Span], there: list[Span]) -> None:
    assert _cover(missing(wanted, there)) == _cover(wanted) - _cover(there)


@given(wanted=spans)
def test_chunks_cover_the_same_pages_and_end_at_fixed_places(wanted: list[Span]) -> None:
    cut = list(chunks(wanted, size=4 * PAGE))
    assert _cover(cut) == _cover(wanted)
    assert all(chunk.start // (4 * PAGE) == (chunk.end - 1) // (4 * PAGE) for chunk in cut)
