"""Stages take the minutes of the latency profile: item by item, in as many lanes as their scripts have."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from images.stages.content import SourceFile
from infra.local.contracts import Outside
from infra.local.faults import Faults
from infra.local.guest.engine import ScriptContext
from infra.local.latency import LatencyProfile
from infra.local.machine.disk import MachineDisk
from infra.local.machine.downloads import save_files
from infra.local.machine.engine import ModelEngine
from infra.local.machine.stage_run import StageRun, StageStopped
from tests.unit.local.machine.conftest import Box

ITEM_S = 0.2
SLOW = LatencyProfile(scale=1, minutes={"origin.fetch": ITEM_S / 60, "guest.stage": ITEM_S / 60, "guest.servicing": ITEM_S / 60})


def run_of(box: Box, stop: threading.Event | None = None) -> StageRun:
    context = ScriptContext(
        machine=box.machine,
        elevated=True,
        stop_event=stop or threading.Event(),
        emit_stdout=lambda _: None,
        emit_stderr=lambda _: None,
        shutdown=lambda _restart, _delay: None,
    )
    return StageRun(box.machine, context, Outside(box.world.gateway), box.faults, SLOW)


def seconds_of(action: Callable[[], object]) -> float:
    begun = time.monotonic()
    action()
    return time.monotonic() - begun


def file_of(box: Box, name: str) -> SourceFile:
    import hashlib

    import httpx

    url = f"https://packages.example.com/{name}.zip"
    content = httpx.get(Outside(box.world.gateway).route(url)).content
    return SourceFile(url=url, path=rf"C:\cache\{name}.zip", sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))


def test_downloads_take_as_many_rounds_as_their_lanes_need(box: Box) -> None:
    files = [file_of(box, f"part{number}") for number in range(8)]
    side_by_side = seconds_of(lambda: save_files(run_of(box), files[:4], 4, 1))
    in_turn = seconds_of(lambda: save_files(run_of(box), files[4:], 1, 1))
    assert side_by_side >= ITEM_S
    assert in_turn >= 4 * ITEM_S
    assert side_by_side < in_turn


def test_what_is_there_already_takes_no_time(box: Box) -> None:
    files = [file_of(box, "part")]
    save_files(run_of(box), files, 1, 1)
    assert seconds_of(lambda: save_files(run_of(box), files, 1, 1)) < ITEM_S


def test_a_killed_stage_does_not_wait_for_its_time(box: Box) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(StageStopped):
        run_of(box, stop).take("guest.stage")


def test_a_boot_takes_longer_after_servicing(box: Box) -> None:
    engine = ModelEngine(Outside(box.world.gateway), Faults(), SLOW)

    def boot() -> None:
        engine.boot(MachineDisk.open(box.folder), boot_time=datetime.now(UTC), outbound_allowed=True)

    plain = seconds_of(boot)
    box.result("Install-NodeFeature.ps1", features=["Hyper-V"])
    box.disk.save()
    assert seconds_of(boot) >= ITEM_S > plain
