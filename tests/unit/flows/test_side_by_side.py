"""Images that are built at the same time: one that fails stops no other, a fault of the program stops them all at once."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from flows.side_by_side import side_by_side
from images.errors import ArtifactError, CancelledError
from tasks.build import shared_run


def test_outcomes_come_in_the_order_of_the_images_and_a_failure_is_its_own() -> None:
    second_failed = threading.Event()

    def waits() -> dict[str, Any]:
        assert second_failed.wait(10)
        return {"image": "first"}

    def fails() -> dict[str, Any]:
        second_failed.set()
        raise ArtifactError("no such file", hint="look for it")

    first, second = side_by_side({"first": waits, "second": fails})
    assert (first.image, first.result, first.error) == ("first", {"image": "first"}, None)
    assert second.image == "second"
    assert isinstance(second.error, ArtifactError)


def test_a_fault_of_the_program_stops_the_images_before_it() -> None:
    stopped: list[bool] = []

    def goes_on() -> dict[str, Any]:
        run, ends_at = shared_run.get(), time.monotonic() + 10
        assert run is not None
        while not run.stopped and time.monotonic() < ends_at:
            time.sleep(0.01)
        stopped.append(run.stopped)
        raise CancelledError("the build is stopping")

    def breaks() -> dict[str, Any]:
        raise LookupError("a fault of the program")

    with pytest.raises(LookupError, match="a fault of the program"):
        side_by_side({"first": goes_on, "second": breaks})
    assert stopped == [True]
