"""Gathered notes lose no fact and tell none twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from images.updates.update_note import UpdateNote, gather_notes

_NOTES = st.builds(UpdateNote, kb=st.sampled_from(["", "KB1", "KB2", "KB3"]), text=st.sampled_from(["left out", "replaced"]))


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), st.lists(_NOTES, max_size=6)))
def test_every_fact_is_there_exactly_once_for_each_image(notes: dict[str, list[UpdateNote]]) -> None:
    told = [(image, kb, gathered.text) for gathered in gather_notes(notes) for image in gathered.images for kb in gathered.kbs or ("",)]
    assert len(told) == len(set(told))
    assert set(told) == {(image, note.kb, note.text) for image, said in notes.items() for note in said}


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), st.lists(_NOTES, max_size=6)))
def test_no_update_stands_under_one_text_twice(notes: dict[str, list[UpdateNote]]) -> None:
    subjects = [(kb, gathered.text) for gathered in gather_notes(notes) for kb in gathered.kbs or ("",)]
    assert len(subjects) == len(set(subjects))


def test_a_sentence_names_all_kbs_and_a_short_one_counts_many() -> None:
    (gathered,) = gather_notes({"a": [UpdateNote(kb="KB2", text="left out"), UpdateNote(kb="KB1", text="left out")]})
    assert (gathered.sentence, gathered.short(2), gathered.short(1)) == ("KB1, KB2: left out", "KB1, KB2: left out", "2 updates: left out")


def test_what_is_said_of_a_month_has_no_kb() -> None:
    (gathered,) = gather_notes({"a": [UpdateNote(text="no B release")], "b": [UpdateNote(text="no B release")]})
    assert (gathered.sentence, gathered.images) == ("no B release", ("a", "b"))
