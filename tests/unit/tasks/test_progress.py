"""Steps tell when they start, how far they are and how they ended, and what they took is kept."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from tasks.progress import StepEvent, Timings, listening


def test_a_step_tells_its_start_progress_and_end() -> None:
    events: list[StepEvent] = []
    timings = Timings()
    with listening(events.append), timings.step("copy", layer="os") as step:
        step.progress("half", 1, 2)
        step.outcome = "reused"
    assert [(event.kind, event.step, event.message, event.done, event.total) for event in events] == [
        ("start", "copy", "", None, None),
        ("progress", "copy", "half", 1, 2),
        ("end", "copy", "", None, None),
    ]
    (kept,) = timings.steps
    assert (kept.name, kept.layer, kept.outcome, events[-1].outcome) == ("copy", "os", "reused", "reused")
    assert kept.seconds == pytest.approx(events[-1].seconds, abs=0.001)
    assert abs((datetime.now(UTC) - datetime.fromisoformat(kept.start)).total_seconds()) < 60


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_a_step_that_fails_is_kept_as_failed_and_its_error_goes_on(error: BaseException) -> None:
    events: list[StepEvent] = []
    timings = Timings()
    with pytest.raises(type(error)), listening(events.append), timings.step("copy") as step:
        step.outcome = "reused"
        raise error
    assert [timing.outcome for timing in timings.steps] == ["failed"]
    assert (events[-1].kind, events[-1].outcome) == ("end", "failed")


def test_a_listener_hears_nothing_after_its_block() -> None:
    events: list[StepEvent] = []
    with listening(events.append):
        pass
    with Timings().step("copy"):
        pass
    assert events == []


def test_timings_of_parallel_steps_come_by_start() -> None:
    timings = Timings()

    def run(number: int) -> None:
        with timings.step(str(number)):
            pass

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(run, range(50)))
    assert {timing.name for timing in timings.steps} == {str(number) for number in range(50)}
    assert [timing.start for timing in timings.steps] == sorted(timing.start for timing in timings.steps)


def test_outside_a_run_steps_log_to_the_projects_own_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="winvhd"), Timings().step("copy") as step:
        step.progress("bytes", 5, 10)
        step.progress("files")
    lines = [record.getMessage() for record in caplog.records if record.name == "winvhd"]
    assert lines[:3] == ["copy …", "copy: bytes [5/10]", "copy: files"]
    assert lines[3].startswith("copy: built in 0.")


def test_a_listener_of_one_builds_timings_hears_of_no_other_build() -> None:
    heard: list[str] = []
    one, other = Timings(), Timings()
    with one.listening(lambda timing: heard.append(timing.name)), one.step("mine"), other.step("not mine"):
        pass
    with one.step("too late"):
        pass
    assert heard == ["mine"]
