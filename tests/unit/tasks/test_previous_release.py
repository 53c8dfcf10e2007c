"""The previous release of an image is its newest lower version that passed its tests."""

from __future__ import annotations

import pytest

from infra.azure.session import Cloud
from infra.azure.version_register import VersionRegister
from tasks.write_documents import previous_release
from tests.unit.images.notes.parts import small_inventory

INVENTORY = small_inventory()


@pytest.fixture
def register(cloud: Cloud, container: str) -> VersionRegister:
    return VersionRegister(cloud, container=container)


def test_the_first_release_has_no_previous_one(register: VersionRegister) -> None:
    register.claim("img", "20348.5386.26071401", "a build that failed")
    assert previous_release(register, "img", "20348.5499.26081201") is None


def test_versions_compare_as_numbers_and_stay_below(register: VersionRegister) -> None:
    for version in ("20348.900.26080101", "20348.5386.26071401", "20348.5386.26071402", "20348.5499.26081201", "20348.5600.26090901"):
        register.release("img", version, INVENTORY.model_copy(update={"vhd_id": version}).model_dump_json().encode())
    found = previous_release(register, "img", "20348.5499.26081201")
    assert found is not None
    assert (found.version, found.inventory.vhd_id) == ("20348.5386.26071402", "20348.5386.26071402")


def test_other_images_do_not_count(register: VersionRegister) -> None:
    register.release("img-gen2", "20348.5386.26071401", INVENTORY.model_dump_json().encode())
    assert previous_release(register, "img", "20348.5499.26081201") is None


def test_an_inventory_that_can_not_be_read_any_more_is_left_out(register: VersionRegister) -> None:
    register.release("img", "20348.5386.26071401", b'{"schema": "of another time"}')
    assert previous_release(register, "img", "20348.5499.26081201") is None
