"""The display shows what steps say as they say it, on a terminal and elsewhere."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import pytest
from rich.console import Console

from flows.cli.display import LiveDisplay, PlainDisplay, make_display
from tasks.progress import Outcome, StepEvent


def _console(terminal: bool) -> tuple[Console, io.StringIO]:
    output = io.StringIO()
    return Console(file=output, force_terminal=terminal, width=60, height=20, _environ={"TERM": "xterm"}), output


def _ended(step: str, outcome: Outcome = "built", seconds: float = 1.25) -> StepEvent:
    return StepEvent("end", step, seconds=seconds, outcome=outcome)


def test_plain_lines_come_one_for_each_step_that_ended_and_are_never_wrapped() -> None:
    console, output = _console(terminal=False)
    name = "pull [bold]everything[/] :smile: " + "x" * 100
    with make_display(console) as display:
        assert isinstance(display, PlainDisplay)
        for event in (
            StepEvent("start", name),
            StepEvent("progress", name, "half"),
            _ended(name),
            _ended("b", "reused"),
            _ended("c", "failed"),
        ):
            display(event)
    assert output.getvalue().splitlines() == [f"built     1.2 s  {name}", "reused    1.2 s  b", "failed    1.2 s  c"]


@pytest.mark.parametrize(("outcome", "mark"), [("built", "✓"), ("reused", "="), ("failed", "✗")])
def test_live_display_leaves_a_marked_line_for_each_step_that_ended(outcome: Outcome, mark: str) -> None:
    console, output = _console(terminal=True)
    with make_display(console) as display:
        assert isinstance(display, LiveDisplay)
        display(StepEvent("start", "copy"))
        display(StepEvent("progress", "copy", "half", 5, 10))
        display(_ended("copy", outcome))
    text = output.getvalue()
    assert mark in text
    assert "1.2 s  copy" in text


def test_live_display_shows_brackets_as_they_are_and_is_not_ended_by_them() -> None:
    console, output = _console(terminal=True)
    with LiveDisplay(console) as display:
        display(StepEvent("start", "a [/b] :smile:"))
        display(StepEvent("progress", "a [/b] :smile:", "[/red] 1"))
        display._progress.refresh()
        display(_ended("a [/b] :smile:"))
    assert "[/red] 1" in output.getvalue()
    assert "1.2 s  a [/b] :smile:" in output.getvalue()


def test_live_display_ignores_steps_it_never_saw_start() -> None:
    console, output = _console(terminal=True)
    with LiveDisplay(console) as display:
        display(StepEvent("progress", "ghost", "boo"))
        display(_ended("ghost"))
    assert "ghost" not in output.getvalue()


def test_live_display_takes_events_of_many_threads() -> None:
    console, output = _console(terminal=True)

    def run(number: int) -> None:
        display(StepEvent("start", f"step-{number}"))
        display(StepEvent("progress", f"step-{number}", "x", 1, 2))
        display(_ended(f"step-{number}"))

    with LiveDisplay(console) as display, ThreadPoolExecutor(4) as pool:
        list(pool.map(run, range(20)))
    ended = {line.rstrip().rpartition(" ")[2] for line in output.getvalue().splitlines() if " s  " in line}
    assert {f"step-{number}" for number in range(20)} <= ended
    assert display._progress.tasks == []
