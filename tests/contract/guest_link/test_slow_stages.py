"""Stages of the stand-in's guest that take longer than the link waits for one answer."""

from __future__ import annotations

import time
from pathlib import Path

from images.stages.finish import UPDATE_DEFENDER, DefenderInput, DefenderResult
from infra.guest.json_lines import Progress
from infra.guest.link import GuestLink
from infra.local.latency import LatencyProfile
from infra.local.machine.update_history import history_titles
from infra.local.origin.server import create_app
from tests.contract.guest_link.build_guest import LIMITS, BuildGuest
from tests.unit.local.origin.serving import serve

SECONDS = 6.0
SLOW = LatencyProfile(scale=1, minutes={"guest.update-defender": SECONDS / 60, "guest.services": 0, "guest.boot": 0})


def test_defender_that_takes_a_while_says_how_far_it_is_and_runs_once(tmp_path: Path, base_disk: Path) -> None:
    assert LIMITS.answer_s < SECONDS
    seen: list[tuple[str, float]] = []

    def note(progress: Progress) -> None:
        seen.append((progress.message, time.monotonic()))

    with (
        serve(create_app(tmp_path / "origin")) as outside,
        BuildGuest(base_disk, tmp_path / "disks", SLOW, outside) as build,
        GuestLink(build.contact(), limits=LIMITS) as link,
    ):
        link.upload_scripts()
        started = time.monotonic()
        wanted = DefenderInput(update_platform=True, update_signatures=True, max_signature_age_hours=48)
        result = link.run_stage(UPDATE_DEFENDER, wanted, run_id="defender", on_progress=note)
        ended = time.monotonic()
        assert link.traffic.reconnects == 0
        titles = history_titles(build.disk)
    assert isinstance(result, DefenderResult)
    assert result.changed
    assert ended - started >= SECONDS
    assert [message for message, _at in seen] == ["Defender platform", "Defender signatures"]
    # Each arrived when its part began, not with the result.
    assert [ended - at > share * SECONDS for (_message, at), share in zip(seen, (0.8, 0.3), strict=True)] == [True, True]
    assert any(f"(Version {result.signature_version})" in title for title in titles)
