"""A step of a run that is stopped while Prefect is still making the step's task run."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from rich.console import Console

from flows.cli.failure import reported

# Its iteration is where Prefect looks for what a task run depends on, before there is a task run.
MADE_OF = [1, 2]


class Struck(list[int]):
    """A parameter that is struck by SIGTERM when somebody reads it."""

    def __iter__(self) -> Iterator[int]:
        os.kill(os.getpid(), signal.SIGTERM)
        return super().__iter__()


def _stopped_run() -> tuple[list[Any], Any]:
    """What ran of a flow whose only step is struck while it is made, and the flow run's last state."""
    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.context import FlowRunContext

    from tasks.step_task import step_task

    ran: list[Any] = []

    @step_task("step", "step")
    def step(numbers: list[int]) -> None:
        ran.append(numbers)

    @flow(name="struck")
    def struck() -> None:
        context = FlowRunContext.get()
        assert context is not None
        assert context.flow_run is not None
        ran.append(context.flow_run.id)
        step(Struck(MADE_OF))

    with pytest.raises(typer.Exit) as caught, reported(Console(file=io.StringIO())):
        struck()
    assert caught.value.exit_code == 130
    with get_client(sync_client=True) as client:
        return ran[1:], client.read_flow_run(ran[0]).state


def test_the_run_ends_as_one_that_was_stopped_and_the_step_never_runs(prefect_api: None) -> None:
    ran, state = _stopped_run()
    assert ran == []
    assert state.is_crashed()
