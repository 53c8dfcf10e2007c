"""Updates over the whole way: files and the agent's KBs, a second restart, and one that never finishes."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from images.errors import StageError
from images.stages.system import (
    INSTALL_AGENT_UPDATE,
    INSTALL_UPDATE,
    AgentUpdate,
    AgentUpdateInput,
    GuestStateResult,
    UpdateFile,
    UpdateInput,
    UpdateResult,
)
from infra.guest.link import GuestLink
from infra.local.contracts import Outside
from infra.local.origin.server import create_app
from infra.local.origin.update_calendar import cumulative_update
from infra.local.origin.windows_releases import download_url
from tasks.run_stage import MAX_RESTARTS, restart_until_settled
from tests.contract.guest_link.build_guest import LIMITS, BuildGuest
from tests.unit.local.origin.serving import serve

JANUARY = cumulative_update(20348, 4648)
PROMISED = "20348.4648"


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve(create_app(tmp_path_factory.mktemp("origin"))) as gateway:
        yield gateway


@pytest.fixture
def connected(tmp_path: Path, base_disk: Path, outside: str) -> Iterator[BuildGuest]:
    """A booted VM with an Internet."""
    with BuildGuest(base_disk, tmp_path / "disks", None, outside) as build:
        yield build


@pytest.fixture
def connected_link(connected: BuildGuest) -> Iterator[GuestLink]:
    with GuestLink(connected.contact(), limits=LIMITS) as link:
        link.upload_scripts()
        yield link


@pytest.fixture(scope="module")
def update(outside: str) -> UpdateInput:
    assert JANUARY is not None
    url = download_url(JANUARY)
    body = httpx.get(Outside(outside).route(url)).raise_for_status().content
    file = UpdateFile(
        kb=JANUARY.kb,
        file_name=url.rpartition("/")[2],
        url=url,
        sha256=hashlib.sha256(body).hexdigest(),
        size_bytes=len(body),
        installer="wusa",
        build=PROMISED,
    )
    return UpdateInput(updates=(file,), promised_build=PROMISED)


def outcomes(result: object) -> list[str]:
    assert isinstance(result, UpdateResult)
    return [outcome.outcome for outcome in result.updates]


def test_the_agents_update_is_there_after_the_restart(connected_link: GuestLink) -> None:
    wanted = AgentUpdateInput(updates=(AgentUpdate(kb="KB9484648", build=PROMISED),), promised_build=PROMISED)
    assert outcomes(connected_link.run_stage(INSTALL_AGENT_UPDATE, wanted, run_id="agent")) == ["installed"]
    assert connected_link.restart().os_build == PROMISED
    assert outcomes(connected_link.run_stage(INSTALL_AGENT_UPDATE, wanted, run_id="again")) == ["already-installed"]


def test_as_many_restarts_as_windows_asks_for(connected: BuildGuest, connected_link: GuestLink, update: UpdateInput) -> None:
    connected.fail("guest.update", "two-restarts", times=1)
    assert outcomes(connected_link.run_stage(INSTALL_UPDATE, update, run_id="twice")) == ["installed"]
    seen: list[GuestStateResult] = []

    def restart() -> GuestStateResult:
        seen.append(connected_link.restart())
        return seen[-1]

    state = restart_until_settled(restart)
    assert [(each.os_build, each.pending_reboot) for each in seen] == [("20348.4529", True), (PROMISED, False)]
    assert state is seen[-1]


def test_restarts_without_end_are_an_error(connected_link: GuestLink) -> None:
    waiting = connected_link.state().model_copy(update={"pending_reboot": True})
    states = iter([waiting] * 100)
    with pytest.raises(StageError, match="waits for a restart after 3 of them") as caught:
        restart_until_settled(lambda: next(states))
    assert (caught.value.code, len(list(states))) == ("restart-pending", 100 - MAX_RESTARTS)
    assert "CBS.log" in caught.value.hint


def test_an_update_that_never_finishes_ends_with_its_stage(connected: BuildGuest, connected_link: GuestLink, update: UpdateInput) -> None:
    connected.fail("guest.update", "hang", times=1)
    with pytest.raises(StageError) as caught:
        connected_link.run_stage(dataclasses.replace(INSTALL_UPDATE, timeout_s=2), update, run_id="hung")
    assert caught.value.code == "timeout"
    assert "waiting for a program that does not end" in caught.value.stderr_tail
    # The guest is as good as before.
    assert outcomes(connected_link.run_stage(INSTALL_UPDATE, update, run_id="again")) == ["installed"]


def test_what_failed_inside_an_update_is_told_with_what_to_do(
    connected: BuildGuest, connected_link: GuestLink, update: UpdateInput
) -> None:
    connected.fail("guest.update", "0x800f0922", times=1)
    with pytest.raises(StageError, match="0x800F0922") as caught:
        connected_link.run_stage(INSTALL_UPDATE, update, run_id="failed")
    assert (caught.value.code, "CBS.log" in caught.value.hint) == ("update-failed", True)
