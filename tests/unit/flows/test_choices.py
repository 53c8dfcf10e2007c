"""A deployment's form offers the committed images; a name or a path is taken."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from flows.choices import ImageChoice
from images.loading import definition_names

CHOICE = TypeAdapter(ImageChoice)


def test_the_form_offers_every_committed_definition() -> None:
    assert CHOICE.json_schema() == {"type": "string", "enum": list(definition_names())}
    assert "windows-2022-containerd" in definition_names()


@pytest.mark.parametrize("name", ["windows-2022-containerd", "some/folder/own.yaml"])
def test_a_name_and_a_path_are_taken(name: str) -> None:
    chosen = CHOICE.validate_python(name)
    assert (type(chosen), chosen) == (ImageChoice, name)
    assert CHOICE.dump_json(chosen) == f'"{name}"'.encode()


@pytest.mark.parametrize("value", ["", None, 3])
def test_nothing_and_what_is_no_text_is_refused(value: object) -> None:
    with pytest.raises(ValidationError):
        CHOICE.validate_python(value)
