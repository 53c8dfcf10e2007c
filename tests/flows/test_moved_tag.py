"""A tag such as ltsc2022 moves every month; a lock says which digest it had, and a build takes that one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from flows.build_image import build_image
from flows.choices import ImageChoice
from images.agreement import compare_with_promise
from images.inventory import Inventory
from images.loading import load_definition
from images.plan import make_plan
from infra.azure.profile import CloudProfile
from infra.azure.session import Cloud
from infra.fetch.http import make_client
from infra.fetch.registry import Registry
from infra.guest.package import guest_scripts
from tasks.resolve_lock import resolve_lock
from tests.standin_fixtures import SMALL

NANO_SERVER = "mcr.microsoft.com/windows/nanoserver:ltsc2022"


@pytest.fixture
def pretend(profile: CloudProfile) -> Iterator[Callable[[str | None], None]]:
    """Puts the stand-in on a day; it pretends none after the test."""

    def put(day: str | None) -> None:
        httpx.put(f"{profile.arm_endpoint}/_standin/date", json={"date": day}, timeout=60).raise_for_status()

    yield put
    put(None)


def _served(cloud: Cloud) -> str:
    """The digest that the tag has in the registry now."""
    with make_client() as client:
        return Registry(client, cloud.profile.route).manifest("mcr.microsoft.com", "windows/nanoserver", "ltsc2022").digest


def test_a_build_takes_the_locked_digest_after_its_tag_moved(
    cloud: Cloud, define: Callable[..., str], pretend: Callable[[str | None], None]
) -> None:
    pretend("2026-07-30")
    file = define(
        name="moved-tag",
        base={**SMALL["base"], "version": "20348.5386.260709"},
        container_images=[NANO_SERVER],
        packages=None,
        e2e_suites=["first-boot"],
    )
    definition = load_definition(Path(file))
    lock = resolve_lock(definition, Path(file), cloud)
    plan = make_plan(definition, lock, scripts=guest_scripts())
    (july,) = lock.container_images
    assert july.digest == _served(cloud)
    pretend("2026-08-20")
    assert _served(cloud) != july.digest
    folder = Path(build_image(ImageChoice(file), "local")["folder"])
    inventory = Inventory.model_validate_json((folder / "inventory.json").read_text())
    names = {image.name: image.digest for image in inventory.container_images}
    config = inventory.container_images[0].config_digest
    assert names == dict.fromkeys((NANO_SERVER, f"mcr.microsoft.com/windows/nanoserver@{july.digest}", config), july.digest)
    assert compare_with_promise(definition, lock, plan, inventory) == ()
    (listed,) = [line for line in (folder / "release-notes.txt").read_text().splitlines() if line.startswith(NANO_SERVER)]
    assert july.digest in listed
