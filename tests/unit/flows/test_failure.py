"""Errors leave the CLI as a text on standard error and the exit code of their class; nothing else does."""

from __future__ import annotations

import io
import json
import os
import signal
import time

import pytest
import typer
from prefect.exceptions import TerminationSignal
from rich.console import Console

from flows.cli.failure import reported
from images.errors import EXIT_CODES, BuildError, ConfigurationError, StageError


def _fail(error: BaseException, *, as_json: bool = False) -> tuple[int, str]:
    output = io.StringIO()
    with pytest.raises(typer.Exit) as caught, reported(Console(file=output, width=40), as_json=as_json):
        raise error
    return caught.value.exit_code, output.getvalue()


@pytest.mark.parametrize("kind", [kind for kind in EXIT_CODES.values() if kind.__init__ is BuildError.__init__])
def test_the_exit_code_is_that_of_the_class(kind: type[BuildError]) -> None:
    code, text = _fail(kind("it broke", hint="mend it"))
    assert code == kind.exit_code
    assert text == f"{kind.title}: it broke\n    hint: mend it\n"


def test_texts_are_neither_wrapped_nor_read_as_markup() -> None:
    what = "[/red] :smile: " + "long " * 30
    assert what in _fail(ConfigurationError(what))[1]


def test_json_has_the_error_in_one_line_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    _fail(StageError("it broke", stage="s", hint="mend it", kept="layer os"), as_json=True)
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line) == {
        "error": "StageError",
        "exit_code": 13,
        "what": "it broke",
        "hint": "mend it",
        "where": "stage s",
        "kept": "layer os",
    }


def test_without_json_standard_output_stays_empty(capsys: pytest.CaptureFixture[str]) -> None:
    _fail(ConfigurationError("no"))
    assert capsys.readouterr().out == ""


def test_an_interrupt_ends_with_130() -> None:
    code, text = _fail(KeyboardInterrupt())
    assert code == 130
    assert "cancelled" in text


def test_sigterm_ends_a_command_as_an_interrupt_does_and_its_handler_is_gone_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM)
    cleaned = []
    with pytest.raises(typer.Exit) as caught, reported(Console(file=io.StringIO())):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        finally:
            cleaned.append(True)
    assert (caught.value.exit_code, cleaned) == (130, [True])
    assert signal.getsignal(signal.SIGTERM) is before


def test_other_errors_are_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError), reported(Console(file=io.StringIO())):
        raise ZeroDivisionError


def test_a_library_that_breaks_on_a_signal_does_not_hide_it() -> None:
    broken = ValueError("Task run is not set")
    # Prefect's own handler has the signal while a flow runs, and what breaks then is raised while that is handled.
    broken.__context__ = TerminationSignal(signal.SIGTERM)
    code, text = _fail(broken)
    assert code == 130
    assert "Task run" not in text
