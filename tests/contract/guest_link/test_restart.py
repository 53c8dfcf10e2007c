"""A restart is over when a new boot answers and its services rest, not when a port is open."""

from __future__ import annotations

import time

import pytest

from images.errors import GuestLinkError
from infra.guest.link import GuestLink
from tests.contract.guest_link.conftest import MakeLink
from tests.contract.guest_link.scripted_guest import ScriptedGuest


def test_restart_gives_the_new_boots_state_and_the_link_goes_on(guest: ScriptedGuest, link: GuestLink) -> None:
    before = link.state()
    after = link.restart()
    assert (before.boot_time, after.boot_time) == ("2026-08-11T00:00:01Z", "2026-08-11T00:00:02Z")
    assert link.state().boot_time == after.boot_time
    assert len(guest.packages) == 1


def test_boot_time_that_moves_without_a_restart_is_not_taken_for_one(guest: ScriptedGuest, link: GuestLink) -> None:
    link.state()
    guest.restart_deaf = 1
    guest.boot_time_drifts = True
    assert link.restart().boot_time.startswith("2026-08-11T00:00:02.")
    assert guest.starts.count("Restart-Guest.ps1") == 2


def test_service_that_restarts_is_not_taken_for_a_restart_of_the_guest(guest: ScriptedGuest, link: GuestLink) -> None:
    link.state()
    guest.restart_deaf = 1
    guest.deaf_restarts_winrm = True
    assert link.restart().boot_time == "2026-08-11T00:00:02Z"
    assert guest.starts.count("Restart-Guest.ps1") == 2


def test_readiness_needs_two_looks_in_a_row(guest: ScriptedGuest, link: GuestLink) -> None:
    link.upload_scripts()
    guest.unstable_looks = 3
    link.wait_until_ready()
    assert guest.starts.count("Get-GuestState.ps1") == 5


def test_guest_whose_services_never_rest_is_named(guest: ScriptedGuest, make_link: MakeLink) -> None:
    link = make_link(restart_s=0.5)
    link.upload_scripts()
    guest.unstable_looks = 10_000
    with pytest.raises(GuestLinkError, match="services kept starting"):
        link.wait_until_ready()


def test_guest_that_does_not_come_back_is_given_up_at_the_bound(guest: ScriptedGuest, make_link: MakeLink) -> None:
    link = make_link(restart_s=1.0)
    link.state()
    guest.restart_deaf = 10_000
    started = time.monotonic()
    with pytest.raises(GuestLinkError, match="did not come back with a new boot within 1 s; at last: it still runs the boot of"):
        link.restart()
    assert time.monotonic() - started < 5


def test_guest_that_is_away_for_longer_than_a_reconnect_is_waited_for(guest: ScriptedGuest, make_link: MakeLink) -> None:
    link = make_link(reconnect_s=0.2)
    guest.restart_s = 1.0
    assert link.restart().boot_time == "2026-08-11T00:00:02Z"
