"""VMs of several builds never have more vCPUs together than the quota, against a real Prefect server."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import httpx
import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from images.errors import AllocationError, ConfigurationError
from infra.prefect.vcpu_quota import ensure_quota, occupied, quota_name
from tests.bench.delayed_line import READ_BYTES, DelayedLine

POLL_S = 0.05


@pytest.fixture
def name(prefect_api: None) -> str:
    """A quota of eight vCPUs that no other test uses."""
    name = f"vcpus-{uuid4().hex}"
    ensure_quota(name, 8)
    return name


def _limit(name: str) -> tuple[int, int]:
    """(slots taken, limit)"""
    with get_client(sync_client=True) as client:
        limit = client.read_global_concurrency_limit_by_name(name)
    return limit.active_slots, limit.limit


def _wait_for(true: Callable[[], bool]) -> None:
    ends_at = time.monotonic() + 60
    while not true():
        assert time.monotonic() < ends_at
        time.sleep(0.02)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """Plain threads, which know the server of the tests from the context they are started in."""
    with ThreadPoolExecutor(6) as pool:
        yield pool


def test_vcpus_are_taken_for_the_block_and_given_back_after_an_error_too(name: str) -> None:
    with occupied(name, 5):
        assert _limit(name) == (5, 8)
    assert _limit(name) == (0, 8)
    with pytest.raises(ZeroDivisionError), occupied(name, 5):
        _ = 1 / 0
    assert _limit(name) == (0, 8)


def test_who_finds_too_few_waits_says_so_and_goes_on_when_they_are_free(name: str, threads: ThreadPoolExecutor) -> None:
    said: list[str] = []

    def second() -> tuple[int, int]:
        with occupied(name, 4, on_event=said.append, poll_s=POLL_S):
            return _limit(name)

    with occupied(name, 5):
        waiting = threads.submit(copy_context().run, second)
        _wait_for(lambda: bool(said))
        assert not waiting.done()
        assert _limit(name) == (5, 8)
    assert waiting.result(20) == (4, 8)
    assert said[0] == "waiting for 4 vCPUs: 5 of 8 are taken"
    assert said[1:] == [said[-1]] and said[-1].startswith("got 4 vCPUs after ")


def test_many_threads_beside_a_flow_stay_within_the_quota(name: str, threads: ThreadPoolExecutor) -> None:
    lock = threading.Lock()
    running = 0
    most = 0

    def build() -> None:
        nonlocal running, most
        with occupied(name, 4, poll_s=POLL_S):
            with lock:
                running += 4
                most = max(most, running)
            time.sleep(0.1)
            with lock:
                running -= 4

    @flow
    def images() -> None:
        for future in [threads.submit(copy_context().run, build) for _ in range(6)]:
            future.result(20)

    images()
    assert most == 8
    assert _limit(name) == (0, 8)


def test_waiting_ends_with_the_time_limit(name: str) -> None:
    begun = time.monotonic()
    refused = pytest.raises(AllocationError, match=f"4 vCPUs of the quota {name} did not come free within 0 s")
    with occupied(name, 8), refused as caught, occupied(name, 4, timeout_s=0.3, poll_s=0.2):
        pytest.fail("there were none")
    assert 0.3 <= time.monotonic() - begun < 5
    assert "vcpu_quota" in caught.value.hint


def test_waiting_can_be_stopped_and_asks_at_the_callers_pace(name: str) -> None:
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            raise KeyboardInterrupt

    with occupied(name, 8), pytest.raises(KeyboardInterrupt), occupied(name, 1, poll_s=7, pause=pause):
        pytest.fail("there were none")
    assert pauses == [7, 7, 7]
    assert _limit(name) == (0, 8)


def test_a_quota_that_does_not_exist_is_refused(prefect_api: None) -> None:
    with pytest.raises(ConfigurationError, match="no concurrency limit called nowhere") as caught, occupied("nowhere", 1):
        pytest.fail("passed silently")
    assert "prefect gcl create nowhere" in caught.value.hint


def test_a_vm_larger_than_the_whole_quota_is_refused_at_once(name: str) -> None:
    refused = pytest.raises(ConfigurationError, match=r"does not fit into the quota.*8 of 8")
    with occupied(name, 8), refused as caught, occupied(name, 16):
        pytest.fail("there are not so many")
    assert "vm_sizes" in caught.value.hint


def test_a_quota_that_shrinks_while_somebody_waits_ends_the_wait(name: str) -> None:
    refused = pytest.raises(ConfigurationError, match="does not fit")
    with occupied(name, 8), refused, occupied(name, 6, pause=lambda _: ensure_quota(name, 4)):
        pytest.fail("there are not so many")


def test_ensuring_a_quota_sets_its_number_and_keeps_what_is_taken(name: str) -> None:
    with occupied(name, 6):
        ensure_quota(name, 8)
        assert _limit(name) == (6, 8)
        ensure_quota(name, 4)
        assert _limit(name) == (6, 4)
        ensure_quota(name, 16)
        with occupied(name, 10):
            assert _limit(name) == (16, 16)
    assert _limit(name) == (0, 16)


def test_builds_that_make_the_same_quota_at_the_same_time_all_succeed(prefect_api: None, threads: ThreadPoolExecutor) -> None:
    name = f"vcpus-{uuid4().hex}"
    ready = threading.Barrier(6)

    def make() -> None:
        ready.wait()
        ensure_quota(name, 8)

    for future in [threads.submit(copy_context().run, make) for _ in range(6)]:
        future.result(20)
    assert _limit(name) == (0, 8)


def test_a_killed_process_keeps_its_vcpus_until_its_lease_is_over(name: str) -> None:
    """They come free by the server's own services, after a minute at least: too long for a test (measured; see the module)."""
    command = [sys.executable, "-m", "tests.contract.prefect_api.quota_holder", name, "6"]
    environment = {**os.environ, "PREFECT_API_URL": PREFECT_API_URL.value() or ""}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "taken\n"
        holder.kill()
    assert _limit(name) == (6, 8)
    with pytest.raises(AllocationError), occupied(name, 4, timeout_s=0):
        pytest.fail("they were free")


class ListeningLine(DelayedLine):
    """A line to the server that keeps what passes."""

    def __init__(self, target_port: int) -> None:
        super().__init__(target_port, rtt_s=0)
        self.passed = bytearray()

    async def _hand_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(READ_BYTES):
            self.passed += data
            writer.write(data)
        writer.close()

    def renewed(self) -> list[str]:
        """The id of the lease of each renewal."""
        return [found.decode() for found in re.findall(rb"/leases/([0-9a-f-]{36})/renew", bytes(self.passed))]


def test_a_lease_is_renewed_and_its_loss_is_told_without_ending_the_block(name: str) -> None:
    said: list[str] = []
    server = PREFECT_API_URL.value() or ""
    with (
        ListeningLine(urlsplit(server).port or 0) as line,
        temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{line.port}/api"}),
        occupied(name, 5, on_event=said.append, lease_s=60, renew_s=0.05),
    ):
        _wait_for(lambda: len(line.renewed()) >= 2)
        assert said == []
        # What the server's repossessor does with a lease that is over.
        with get_client(sync_client=True) as client:
            client.release_concurrency_slots_with_lease(UUID(line.renewed()[0]))
        _wait_for(lambda: bool(said))
        assert len(set(line.renewed())) == 1
    assert len(said) == 1
    assert said[0].startswith("the Prefect server has given this build's vCPUs away")
    assert _limit(name) == (0, 8)


def test_no_server_is_explained(prefect_api: None) -> None:
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(ConfigurationError, match="does not answer") as caught,
    ):
        ensure_quota("q", 1)
    assert "PREFECT_API_URL" in caught.value.hint


def test_errors_of_the_block_are_the_callers_own(name: str) -> None:
    with pytest.raises(httpx.ReadTimeout), occupied(name, 1):
        raise httpx.ReadTimeout("the caller's")


def test_each_region_has_a_quota_of_its_own() -> None:
    assert quota_name("westus3") != quota_name("westeurope")
