"""A cloud without room, and one in a bad mood: the first stops a build with a list of what was tried, the second only slows it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from flows.build_image import build_image
from flows.choices import ImageChoice
from images.errors import AllocationError
from infra.azure.profile import CloudProfile
from tests.faults.conftest import bare
from tests.faults.stormy import StormyBuild
from tests.standin_fixtures import FaultControl


def test_no_room_anywhere_lists_every_try(
    define: Callable[..., str], profile: CloudProfile, faults: FaultControl, groups_of: Callable[[str], list[str]]
) -> None:
    faults(profile="no-capacity")
    with pytest.raises(AllocationError) as caught:
        build_image(ImageChoice(define(**bare("homeless"))), "local", "")
    for size in profile.vm_sizes:
        assert f"{size}: AllocationFailed" in caught.value.what
    assert "vm_sizes" in caught.value.hint or "sizes" in caught.value.hint
    assert groups_of("homeless") == []


def test_a_build_in_bad_weather_succeeds(stormy: StormyBuild, groups_of: Callable[[str], list[str]]) -> None:
    assert stormy.result["checks_passed"] > 0
    assert groups_of("stormy") == []


@pytest.mark.parametrize(
    "fault",
    [
        "arm.request TooManyRequests",
        "arm.request ServiceUnavailable",
        "arm.request InternalServerError",
        "arm.vm.allocate AllocationFailed",
        "origin.fetch corrupt",
        "guest.winrm dropped",
        "guest.winrm-drop dropped",
        "guest.reboot-mid-stage restart",
    ],
)
def test_the_weather_was_bad(stormy: StormyBuild, fault: str) -> None:
    assert stormy.struck[fault] > 0


def test_a_refused_size_is_told_and_the_next_one_taken(stormy: StormyBuild, profile: CloudProfile) -> None:
    first, second, *_ = profile.vm_sizes
    said = stormy.log.index(f"{first} refused: AllocationFailed")
    assert f"creating build VM: {second}" in stormy.log[said:]


def test_lost_connections_are_counted_in_the_result(stormy: StormyBuild) -> None:
    assert stormy.result["winrm"]["reconnects"] > 0
