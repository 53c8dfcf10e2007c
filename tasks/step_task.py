"""A step as a task run of Prefect; in private work, of which Prefect's database sees nothing, as the plain function that it is."""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextvars import copy_context
from typing import Generic, ParamSpec, TypeVar

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.exceptions import ExternalSignal

from tasks.progress import hidden_log

P = ParamSpec("P")
R = TypeVar("R")


class StepTask(Generic[P, R]):
    """Called like the function that it decorates, and shown as a task run when that may be seen.

    Its result is never stored: what a step made is looked up in the cloud, where it may have gone meanwhile. A failing task run's error
    text is, in four tables; that is why private work must not be one.
    """

    def __init__(self, function: Callable[P, R], shown: Task[P, R]) -> None:
        functools.update_wrapper(self, function)
        self.fn = function
        self._shown = shown

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if hidden_log.get() is not None:
            return self.fn(*args, **kwargs)
        try:
            return self._shown(*args, **kwargs)
        except Exception as error:
            # A cancelled run must end as one, and not as one that failed.
            if (signal := signal_behind(error)) is not None:
                raise signal from None
            raise

    def submit(self, pool: Executor, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Run beside the caller, in a thread of the pool, as part of the caller's run."""
        return pool.submit(copy_context().run, lambda: self(*args, **kwargs))


def signal_behind(error: BaseException) -> BaseException | None:
    """The interrupt or termination signal while which `error` was raised, or which it is itself; None when there was none.

    A signal may strike while Prefect makes a task run, and its engine (3.9.1, task_engine.py, handle_crash) then fails in turn with
    ValueError, since there is no run yet that it could call crashed.
    """
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, (KeyboardInterrupt, ExternalSignal)):
            return link
        link = link.__context__
    return None


def step_task(name: str, run_name: str) -> Callable[[Callable[P, R]], StepTask[P, R]]:
    """Make a step of a function; `run_name` may name its parameters in braces, and is what a person reads."""

    def decorate(function: Callable[P, R]) -> StepTask[P, R]:
        return StepTask(function, task(name=name, task_run_name=run_name, cache_policy=NO_CACHE, persist_result=False)(function))

    return decorate
