"""A version is given to one build only, and to a build only once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from images.errors import CaptureError, CloudError
from infra.azure.session import Cloud
from infra.azure.version_register import VersionRegister
from tasks.reserve_version import BUILDS_A_DAY, reserve_version

DAY = datetime(2026, 8, 12, 23, 59, tzinfo=UTC)


@pytest.fixture
def register(cloud: Cloud, container: str) -> VersionRegister:
    return VersionRegister(cloud, container=container)


def _reserve(register: VersionRegister, build_id: str, *, image: str = "img", now: datetime = DAY) -> str:
    return reserve_version(register, image, "20348.5499", build_id, now)


def test_builds_of_a_day_count_up_and_a_new_day_begins_again(register: VersionRegister) -> None:
    assert [_reserve(register, build) for build in ("a", "b")] == ["20348.5499.26081201", "20348.5499.26081202"]
    assert _reserve(register, "c", now=datetime(2026, 8, 13, tzinfo=UTC)) == "20348.5499.26081301"
    assert _reserve(register, "d", image="other") == "20348.5499.26081201"


def test_a_build_that_asks_again_gets_the_version_it_has(register: VersionRegister) -> None:
    first = _reserve(register, "a")
    _reserve(register, "b")
    assert _reserve(register, "a") == first


def test_builds_at_the_same_time_get_different_versions(register: VersionRegister) -> None:
    with ThreadPoolExecutor(6) as pool:
        versions = list(pool.map(lambda build: _reserve(register, build), "abcdef"))
    assert sorted(versions) == [f"20348.5499.2608120{count}" for count in range(1, 7)]


def test_the_hundredth_build_of_a_day_is_refused(register: VersionRegister) -> None:
    for count in range(1, BUILDS_A_DAY + 1):
        register.claim("img", f"20348.5499.260812{count:02d}", "other")
    with pytest.raises(CaptureError, match="99 times") as caught:
        _reserve(register, "late")
    assert "tomorrow" in caught.value.hint


def test_a_register_that_can_not_be_read_is_a_cloud_error(cloud: Cloud) -> None:
    with pytest.raises(CloudError, match="reserve version"):
        _reserve(VersionRegister(cloud, container="not-there"), "a")
