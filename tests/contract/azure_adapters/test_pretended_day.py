"""On a pretended day marketplace, update feed, update files and container images of the stand-in agree, through the real adapters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime

import httpx
import pytest

from images.errors import CloudError
from images.updates.selection import select_updates
from infra.azure.marketplace import format_version, list_versions, resolve_version
from infra.azure.session import Cloud
from infra.fetch.http import make_client
from infra.fetch.registry import Registry
from tasks.locate_updates import locate_updates
from tasks.read_feed import MSRC, read_feed
from tests.contract.azure_adapters.conftest import StandIn

IMAGE = ("MicrosoftWindowsServer", "windowsserver2022", "2022-datacenter-core-smalldisk-g2")
SERVER_CORE = "mcr.microsoft.com/windows/servercore"

Pretend = Callable[[object], httpx.Response]


@pytest.fixture
def pretend(stand_in: StandIn) -> Iterator[Pretend]:
    url = f"{stand_in.profile.arm_endpoint}/_standin/date"

    def put(day: object) -> httpx.Response:
        return httpx.put(url, json={"date": day})

    yield put
    put(None).raise_for_status()


@pytest.mark.parametrize(
    ("day", "image", "container", "month"),
    [
        ("2026-08-10", "20348.5386.260709", "10.0.20348.5386", "2026-07"),
        # The update and the container images are out, the image follows a week later.
        ("2026-08-12", "20348.5386.260709", "10.0.20348.5499", "2026-08"),
        ("2026-08-19", "20348.5499.260809", "10.0.20348.5499", "2026-08"),
        (None, "20348.5868.261105", "10.0.20348.5868", "2026-11"),
    ],
)
def test_everything_agrees_on_the_day(
    arm: Cloud, pretend: Pretend, stand_in: StandIn, day: str | None, image: str, container: str, month: str
) -> None:
    assert pretend(day).json() == {"date": day}
    assert httpx.get(f"{stand_in.profile.arm_endpoint}/_standin/date").json() == {"date": day}
    assert httpx.get(f"{stand_in.profile.arm_endpoint}/_standin/status").json()["date"] == day
    assert format_version(list_versions(arm, *IMAGE)[0]) == image
    assert resolve_version(arm, *IMAGE, "latest") == image
    feed = read_feed(arm, MSRC, [])
    assert max(update.month for update in feed) == month
    with make_client() as client:
        registry = Registry(client, arm.profile.route, first_wait_s=0.01)
        digests = {registry.manifest("mcr.microsoft.com", "windows/servercore", tag).digest for tag in ("ltsc2022", container)}
    assert len(digests) == 1
    when = datetime.combine(date.fromisoformat(day or "2026-11-30"), datetime.min.time(), UTC).replace(hour=20)
    selection = select_updates(feed, 20348, image, as_of=when)
    located = locate_updates(arm, selection, feed)
    # What is selected brings Windows to the build of the newest container image.
    assert f"10.0.{selection.target_build}" == container
    for update in located:
        assert update.url is not None
        assert httpx.head(arm.profile.route(update.url)).status_code == httpx.codes.OK


def test_later_versions_can_not_be_used_before_their_day(arm: Cloud, pretend: Pretend) -> None:
    pretend("2026-08-12")
    with pytest.raises(CloudError) as caught:
        resolve_version(arm, *IMAGE, "20348.5499.260809")
    assert caught.value.code == "PlatformImageNotFound"
    with make_client() as client:
        url = arm.profile.route(f"https://{SERVER_CORE.replace('.com/', '.com/v2/')}/manifests/10.0.20348.5622")
        assert client.get(url).status_code == httpx.codes.NOT_FOUND
        pretend("2026-09-08")
        assert client.get(url).status_code == httpx.codes.OK


@pytest.mark.parametrize("day", ["August", "2026-02-30", 7, {"year": 2026}])
def test_a_day_that_is_none_is_refused(pretend: Pretend, stand_in: StandIn, day: object) -> None:
    answer = pretend(day)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "InvalidDate")
    assert httpx.get(f"{stand_in.profile.arm_endpoint}/_standin/date").json() == {"date": None}
