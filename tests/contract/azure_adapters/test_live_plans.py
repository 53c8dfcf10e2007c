"""What running builds need is known, and what nobody withdrew expires."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from images.errors import CloudError, ConfigurationError
from infra.azure.blob_storage import ensure_container
from infra.azure.live_plans import LivePlans
from infra.azure.session import Cloud

NOW = datetime(2026, 9, 9, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def live(cloud: Cloud, container: str) -> LivePlans:
    ensure_container(cloud, container)
    return LivePlans(cloud, container=container)


def _blobs(cloud: Cloud, container: str) -> list[str]:
    with cloud.blobs().get_container_client(container) as client:
        return list(client.list_blob_names())


def test_what_any_running_build_announced_is_in_use(live: LivePlans) -> None:
    assert live.in_use(NOW) == set()
    live.announce("build-1", ["a", "b"], NOW + HOUR)
    live.announce("build-2", ["b", "c"], NOW + 2 * HOUR)
    assert live.in_use(NOW) == {"a", "b", "c"}


def test_a_build_that_withdrew_needs_nothing_and_may_withdraw_twice(live: LivePlans) -> None:
    live.announce("build-1", ["a"], NOW + HOUR)
    live.withdraw("build-1")
    live.withdraw("build-1")
    assert live.in_use(NOW) == set()


def test_a_later_announcement_takes_the_place_of_the_earlier(live: LivePlans) -> None:
    live.announce("build-1", ["a", "b"], NOW + HOUR)
    live.announce("build-1", ["b"], NOW + 2 * HOUR)
    assert live.in_use(NOW + HOUR) == {"b"}


def test_expired_announcements_count_no_more_and_are_deleted(live: LivePlans, cloud: Cloud, container: str) -> None:
    live.announce("killed", ["a"], NOW)
    live.announce("running", ["b"], NOW + HOUR)
    assert live.in_use(NOW) == {"b"}
    assert _blobs(cloud, container) == ["live/running.json"]


def test_a_time_in_another_zone_is_the_same_moment(live: LivePlans) -> None:
    live.announce("build-1", ["a"], datetime.fromisoformat("2026-09-09T05:30:00-07:00"))
    assert live.in_use(NOW) == {"a"}
    assert live.in_use(NOW + HOUR) == set()


def test_a_blob_that_says_nothing_stops_pruning(live: LivePlans, cloud: Cloud, container: str) -> None:
    with cloud.blobs().get_blob_client(container, "live/odd.json") as blob:
        blob.upload_blob(b'{"build_id": "odd"}')
    with pytest.raises(ConfigurationError, match=r"live/odd\.json") as caught:
        live.in_use(NOW)
    assert "delete it" in caught.value.hint


def test_a_container_that_is_missing_is_a_cloud_error(cloud: Cloud) -> None:
    with pytest.raises(CloudError, match="read the plans"):
        LivePlans(cloud, container="not-there").in_use(NOW)
