"""Errors say what, where and what next, have an exit code of their own, and survive a trip through pickle."""

from __future__ import annotations

import pickle

import pytest
from pydantic import ValidationError

from images import errors
from images.errors import (
    EXIT_CODES,
    AllocationError,
    BuildError,
    CloudError,
    ConfigurationError,
    DefinitionError,
    InventoryMismatchError,
    Problem,
    StageError,
)
from images.stages.content import SaveFileInput

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, BuildError)]


def test_every_kind_has_an_exit_code_and_a_title_of_its_own() -> None:
    assert {kind.exit_code: kind for kind in KINDS} == EXIT_CODES
    assert len(EXIT_CODES) == len(KINDS)
    assert len({kind.title for kind in KINDS}) == len(KINDS)
    # 0 is success, 2 is typer's for wrong usage.
    assert not {0, 2} & set(EXIT_CODES)


def test_text_has_place_reason_hint_and_what_was_kept() -> None:
    error = BuildError("it broke", hint="mend it", where="the place", kept="the rest")
    assert str(error) == "the place: it broke\n    hint: mend it\n    kept: the rest"
    assert str(BuildError("it broke")) == "it broke"


ERRORS = [
    ConfigurationError("port 1 is in use", hint="another port"),
    DefinitionError([Problem("a.yaml", 3, "features[0]", "unknown", "did you mean X?"), Problem("a.yaml", 0, "", "empty")]),
    CloudError("refused", code="Conflict", status=409, request_id="r1", where="disk"),
    AllocationError("no capacity", code="SkuNotAvailable", status=409),
    StageError("failed", stage="install", guest_exit_code=5, code="disk-full", stderr_tail="tail", kept="layer os"),
    InventoryMismatchError("differs", differences=["a", "b"], hint="look"),
]


@pytest.mark.parametrize("error", ERRORS, ids=[type(error).__name__ for error in ERRORS])
def test_errors_come_through_pickle_whole(error: BuildError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert vars(again) == vars(error)
    assert (str(again), again.args, again.exit_code) == (str(error), error.args, error.exit_code)


def test_a_definition_error_shows_every_problem_with_its_line() -> None:
    text = str(ERRORS[1])
    assert text == "a.yaml:3: features[0]: unknown\n    hint: did you mean X?\na.yaml: empty"


def test_a_stage_error_names_its_stage_and_an_inventory_mismatch_its_differences() -> None:
    assert str(ERRORS[4]) == "stage install: failed\n    kept: layer os"
    assert str(ERRORS[5]) == "differs\n  a\n  b\n    hint: look"


def test_error_of_a_wrong_stage_input_quotes_nothing_of_it() -> None:
    wrong = {"files": [{"url": "https://x.example.com/a?sig=canary"}], "parallel": "sig=canary", "attempts": 1}
    with pytest.raises(ValidationError) as raised:
        SaveFileInput.model_validate(wrong)
    assert "files.0.path" in str(raised.value)
    assert "parallel" in str(raised.value)
    assert "canary" not in str(raised.value)
