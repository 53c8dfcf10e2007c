"""Resources of runs that crashed or were cancelled go by the flow's hooks; those of runs that are forgotten, by the reaper."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.states import Cancelled

from flows.build_image import build_image
from flows.reap_resources import reap_resources
from infra.azure.resource_group import ensure_group
from infra.azure.session import Cloud
from infra.azure.tags import BuildTags
from tasks.build import build_id_for, open_build
from tasks.release_resources import release_resources
from tests.faults.conftest import bare

Groups = Callable[[str], list[str]]


def _wait_until_gone(groups: Callable[[], list[str]]) -> None:
    deadline = time.monotonic() + 60
    while groups():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_resources_of_a_crashed_run_are_deleted(define: Callable[..., str], cloud: Cloud, groups_of: Groups) -> None:
    made = []

    @flow(name="crash", on_crashed=[release_resources])
    def crash(image: str, cloud: str = "local") -> None:
        with open_build("crashed", "local") as build:
            made.append(ensure_group(build.cloud, build.tags))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        crash(define(**bare("crashed")))
    assert len(made) == 1
    _wait_until_gone(lambda: groups_of("crashed"))


def test_the_resources_of_a_cancelled_run_are_deleted(define: Callable[..., str], cloud: Cloud, groups_of: Groups) -> None:
    path = define(**bare("cancelled"))
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(build_image, parameters={"image": path, "cloud": "local"})
    build_id = build_id_for("cancelled", run.id)
    ensure_group(cloud, BuildTags(build_id=build_id, flow_run_id=str(run.id), expires_at=datetime.now(UTC) + timedelta(hours=1)))
    other = BuildTags(build_id="cancelled-000000000000", expires_at=datetime.now(UTC) - timedelta(hours=1))
    ensure_group(cloud, other)
    # As Prefect's runner calls it; twice, since the flow's own clean-up may be at work beside it.
    for _ in range(2):
        release_resources(flow=build_image, flow_run=run, state=Cancelled())
    _wait_until_gone(lambda: [name for name in groups_of("cancelled") if build_id in name])
    assert len(groups_of("cancelled")) == 1


def test_the_reaper_deletes_what_has_expired_and_nothing_else(cloud: Cloud, groups_of: Groups) -> None:
    for digits, hours in (("000000000001", -1), ("000000000002", 1)):
        ensure_group(cloud, BuildTags(build_id=f"reaped-{digits}", expires_at=datetime.now(UTC) + timedelta(hours=hours)))
    cloud.resources.resource_groups.create_or_update("winvhd-reaped-by-nobody", {"location": cloud.profile.location})
    assert "winvhd-reaped-000000000001" in reap_resources("local")
    _wait_until_gone(lambda: [name for name in groups_of("reaped") if name.endswith("1")])
    assert groups_of("reaped") == ["winvhd-reaped-000000000002", "winvhd-reaped-by-nobody"]
    for name in groups_of("reaped"):
        cloud.resources.resource_groups.begin_delete(name).result()
