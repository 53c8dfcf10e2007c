"""Updates in the model: checkpoints, the Windows Update agent, and bad luck."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from infra.local.machine import cbs, services
from infra.local.origin.server import create_app
from infra.local.origin.update_calendar import CumulativeUpdate, cumulative_update
from infra.local.origin.windows_releases import download_url
from infra.local.pretended_date import PretendedDate
from tests.unit.local.machine.conftest import Box, World
from tests.unit.local.origin.serving import serve

FILES = "Install-WindowsUpdatePackage.ps1"
AGENT = "Install-AgentUpdate.ps1"


def released(build: int, ubr: int) -> CumulativeUpdate:
    found = cumulative_update(build, ubr)
    assert found is not None
    return found


def update(world: World, build: int, ubr: int, **more: Any) -> dict[str, Any]:
    about = released(build, ubr)
    url = download_url(about)
    installer = "dism" if build == 26100 else "wusa"
    name = url.rpartition("/")[2]
    return {"kb": about.kb, "file_name": name, "installer": installer, "build": about.fixed_build, **world.lock(url), **more}


def install(box: Box, *updates: dict[str, Any], promised: str | None = None) -> list[tuple[str, str]]:
    result = box.result(FILES, updates=list(updates), promised_build=promised)
    return [(one["kb"], one["outcome"]) for one in result["updates"]]


def ask_agent(box: Box, *kbs: str, build: str | None = None) -> list[tuple[str, str]]:
    result = box.result(AGENT, updates=[{"kb": kb, "build": build} for kb in kbs], promised_build=build)
    return [(one["kb"], one["outcome"]) for one in result["updates"]]


def kbs(box: Box) -> set[str]:
    return {fix.kb for fix in cbs.hotfixes(box.disk)}


def test_every_update_of_the_calendar_brings_its_build(make_box: Callable[..., Box]) -> None:
    box = make_box(20348)
    for ubr in (5538, 5622, 5868):
        about = released(20348, ubr)
        assert install(box, update(box.world, 20348, ubr), promised=about.fixed_build) == [(about.kb, "installed")]
        box.boot()
        assert box.machine.os_build == about.fixed_build


def test_dism_takes_the_checkpoint_from_the_folder(make_box: Callable[..., Box]) -> None:
    box = make_box(26100)
    checkpoint = update(box.world, 26100, 33580, checkpoint=True)
    target = update(box.world, 26100, 33725)
    assert install(box, checkpoint, target, promised="26100.33725") == [("KB9003580", "with-target"), ("KB9003725", "installed")]
    box.boot()
    assert box.machine.os_build == "26100.33725"
    assert {"KB9003580", "KB9003725"} <= kbs(box)
    again = install(box, checkpoint, target, promised="26100.33725")
    assert again == [("KB9003580", "already-installed"), ("KB9003725", "already-installed")]


def test_without_its_checkpoint_an_update_fails(make_box: Callable[..., Box]) -> None:
    box = make_box(26100)
    refused = box.run(FILES, updates=[update(box.world, 26100, 33725)], promised_build="26100.33725")
    assert refused.code == "update-failed"
    assert "0x800F0838" in refused.last["message"]
    assert box.machine.pending_reboot is False


def test_a_checkpoint_of_the_month_is_installed_like_any_other(make_box: Callable[..., Box]) -> None:
    box = make_box(26100)
    assert install(box, update(box.world, 26100, 33580), promised="26100.33580") == [("KB9003580", "installed")]
    box.boot()
    assert install(box, update(box.world, 26100, 33725), promised="26100.33725") == [("KB9003725", "installed")]
    box.boot()
    assert box.machine.os_build == "26100.33725"


def test_an_update_below_the_base_is_superseded_by_its_own_build(box: Box) -> None:
    older, newer = update(box.world, 20348, 5386), update(box.world, 20348, 5622)
    assert install(box, older, newer, promised="20348.5622") == [("KB9485386", "superseded"), ("KB9485622", "installed")]


def test_the_servicing_stack_comes_first_and_is_there_after_the_restart(make_box: Callable[..., Box]) -> None:
    box = make_box(17763)
    stack = {"kb": "KB96632603", "file_name": "windows10.0-kb96632603-x64.msu", "installer": "wusa"}
    stack |= box.world.lock("https://updates.example.com/windows10.0-kb96632603-x64.msu")
    assert install(box, stack, update(box.world, 17763, 9012), promised="17763.9012") == [
        ("KB96632603", "installed"),
        ("KB9639012", "installed"),
    ]
    box.boot()
    assert (box.machine.os_build, "KB96632603" in kbs(box)) == ("17763.9012", True)


def test_the_agent_installs_exactly_the_kbs_that_are_named(box: Box) -> None:
    assert ask_agent(box, "KB9485622", build="20348.5622") == [("KB9485622", "installed")]
    assert box.machine.pending_reboot
    box.boot()
    # Neither the preview nor the newer months that it would offer, too.
    assert box.machine.os_build == "20348.5622"
    assert kbs(box) == {"KB9485622", "KB5120241", "KB5120705"}
    before = len(box.world.guest_requests())
    assert ask_agent(box, "KB9485622", build="20348.5622") == [("KB9485622", "already-installed")]
    assert len(box.world.guest_requests()) == before


def test_the_agent_brings_the_checkpoint_along(make_box: Callable[..., Box]) -> None:
    box = make_box(26100)
    assert ask_agent(box, "KB9003725", build="26100.33725") == [("KB9003725", "installed")]
    box.boot()
    assert box.machine.os_build == "26100.33725"


def test_a_kb_below_the_base_is_superseded_for_the_agent(box: Box) -> None:
    assert ask_agent(box, "KB9485386", build="20348.5386") == [("KB9485386", "superseded")]


@pytest.mark.parametrize("kb", ["KB9639012", "KB5999999"], ids=["of another Windows", "of nobody"])
def test_the_agent_does_not_offer_what_is_not_for_this_windows(box: Box, kb: str) -> None:
    refused = box.run(AGENT, updates=[{"kb": kb, "build": None}], promised_build=None)
    assert refused.code == "update-not-offered"
    assert kb in refused.last["message"]


def test_the_agent_refuses_a_network_token_and_a_disabled_service(box: Box) -> None:
    wanted: dict[str, Any] = {"updates": [{"kb": "KB9485622", "build": None}], "promised_build": None}
    assert box.run(AGENT, elevated=False, **wanted).code == "access-denied"
    services.set_service(box.disk, "wuauserv", services.DISABLED)
    refused = box.run(AGENT, **wanted)
    assert (refused.code, "1058" in refused.last["message"]) == ("update-failed", True)


def test_the_agent_offers_nothing_from_the_future(tmp_path: Path, make_box: Callable[..., Box]) -> None:
    today = PretendedDate(date(2026, 9, 7))
    with serve(create_app(tmp_path / "origin", today=today)) as gateway:
        box = make_box(outside=World(gateway, tmp_path / "origin"))
        wanted: dict[str, Any] = {"updates": [{"kb": "KB9485622", "build": None}], "promised_build": None}
        assert box.run(AGENT, **wanted).code == "update-not-offered"
        today.pretend(date(2026, 9, 8))
        assert ask_agent(box, "KB9485622") == [("KB9485622", "installed")]


@pytest.mark.parametrize("script", [FILES, AGENT])
def test_an_installer_that_fails_inside_the_update_fails_the_stage(box: Box, script: str) -> None:
    box.strike("guest.update", "0x800f0922")
    wanted = update(box.world, 20348, 5622) if script == FILES else {"kb": "KB9485622", "build": "20348.5622"}
    refused = box.run(script, updates=[wanted], promised_build="20348.5622")
    assert refused.code == "update-failed"
    assert "0x800F0922" in refused.last["message"]
    assert box.machine.pending_reboot is False
    assert box.result(script, updates=[wanted], promised_build="20348.5622")["changed"] is True


def test_an_update_may_need_two_restarts(box: Box) -> None:
    box.strike("guest.update", "two-restarts")
    install(box, update(box.world, 20348, 5622), promised="20348.5622")
    box.boot()
    state = box.result("Get-GuestState.ps1")
    assert (state["os_build"], state["pending_reboot"]) == ("20348.5499", True)
    box.boot()
    state = box.result("Get-GuestState.ps1")
    assert (state["os_build"], state["pending_reboot"]) == ("20348.5622", False)
    assert "KB9485622" in kbs(box)


def test_an_update_may_be_rolled_back_while_windows_starts(box: Box) -> None:
    box.strike("guest.update", "rolled-back")
    install(box, update(box.world, 20348, 5622), promised="20348.5622")
    box.boot()
    state = box.result("Get-GuestState.ps1")
    assert (state["os_build"], state["pending_reboot"]) == ("20348.5499", False)
    assert "KB9485622" not in kbs(box)


def test_an_update_that_never_finishes_ends_with_its_process(box: Box) -> None:
    box.strike("guest.update", "hang")
    wanted = update(box.world, 20348, 5622)
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    outcome = box.run(FILES, stop=stop, updates=[wanted], promised_build="20348.5622")
    assert outcome.exit_code != 0
    assert "waiting for a program that does not end" in outcome.stderr
    assert box.machine.pending_reboot is False


def test_bases_of_every_month_hold_what_came_with_them(make_box: Callable[..., Box]) -> None:
    assert kbs(make_box(26100)) == {"KB5043080", "KB9003296"}
    assert kbs(make_box(20348)) == {"KB5120241", "KB5120242", "KB5120705"}
