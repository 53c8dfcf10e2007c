"""What is said about updates that are not simply installed: of each image in single facts, of many images each fact once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import Field

from images.frozen import Frozen


class UpdateNote(Frozen):
    """One fact about one update, or about a whole month."""

    kb: str = Field(default="", description="The update; empty where the month is meant.")
    text: str = Field(description="What is said of it, in words that fit one KB as well as several.")

    @property
    def sentence(self) -> str:
        """The note as one line, for example "KB5110001: left out, replaced by KB5120242"."""
        return _sentence([self.kb] if self.kb else [], self.text)


class GatheredNote(Frozen):
    """One fact, with all updates and all images that it is true of."""

    kbs: tuple[str, ...]
    text: str
    images: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """The note as one line, with every KB."""
        return _sentence(self.kbs, self.text)

    def short(self, most: int) -> str:
        """The note as one line, where more KBs than `most` are only counted."""
        return self.sentence if len(self.kbs) <= most else _sentence([f"{len(self.kbs)} updates"], self.text)


def gather_notes(notes: Mapping[str, Sequence[UpdateNote]]) -> tuple[GatheredNote, ...]:
    """The notes of images by name, each fact once, in the order in which they come first.

    KBs of which the same is true for the same images are told together; what is true of other images is told apart.
    """
    images: dict[UpdateNote, list[str]] = {}
    for image, said in notes.items():
        for note in dict.fromkeys(said):
            images.setdefault(note, []).append(image)
    kbs: dict[tuple[bool, str, tuple[str, ...]], list[str]] = {}
    for note, names in images.items():
        kbs.setdefault((bool(note.kb), note.text, tuple(names)), []).append(note.kb)
    return tuple(
        GatheredNote(kbs=tuple(sorted(found)) if of_updates else (), text=text, images=names)
        for (of_updates, text, names), found in kbs.items()
    )


def _sentence(subjects: Sequence[str], text: str) -> str:
    return f"{', '.join(subjects)}: {text}" if subjects else text
