"""Updates that go wrong in a whole build: each ends as a success with one more restart, or as an error that says why."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.build_image import build_image
from flows.choices import ImageChoice
from images.errors import StageError
from images.inventory import Inventory
from infra.azure.profile import CloudProfile
from tests.faults.conftest import bare
from tests.standin_fixtures import SMALL, FaultControl

Define = Callable[..., str]
Groups = Callable[[str], list[str]]

JULY = {**SMALL["base"], "version": "20348.5386.260709"}
AUGUST = {"kb": "KB5120242", "url": "https://catalog.example.com/windows10.0-kb5120242-x64.msu", "build": "20348.5499"}


def updated(name: str, *updates: dict[str, Any]) -> dict[str, Any]:
    return bare(name, base=JULY, updates=list(updates))


def test_an_update_with_two_restarts_gets_both(define: Define, profile: CloudProfile, faults: FaultControl, groups_of: Groups) -> None:
    faults({"point": "guest.update", "key": "KB5120242 *-twice-*", "fault": {"code": "two-restarts"}})
    result = build_image(ImageChoice(define(**updated("twice", AUGUST))), "local", "")
    assert faults.struck() == {"guest.update two-restarts": 1}
    assert result["os_version"] == "20348.5499"
    assert groups_of("twice") == []


def test_an_update_that_is_rolled_back_stops_the_build(
    define: Define, profile: CloudProfile, faults: FaultControl, groups_of: Groups
) -> None:
    faults({"point": "guest.update", "key": "KB5120242 *-undone-*", "fault": {"code": "rolled-back"}})
    with pytest.raises(StageError, match=r"Windows is at 20348\.5386 after the restart, the update promises 20348\.5499") as caught:
        build_image(ImageChoice(define(**updated("undone", AUGUST))), "local", "")
    assert (caught.value.stage, caught.value.code) == ("install-update", "build-not-reached")
    assert groups_of("undone") == []


def test_an_installer_that_fails_inside_an_update_is_named(
    define: Define, profile: CloudProfile, faults: FaultControl, groups_of: Groups
) -> None:
    faults({"point": "guest.update", "key": "KB5120242 *-failing-*", "fault": {"code": "0x800f0922"}})
    with pytest.raises(StageError, match="KB5120242: exit code -2146498270") as caught:
        build_image(ImageChoice(define(**updated("failing", AUGUST))), "local", "")
    assert (caught.value.stage, caught.value.code) == ("install-update", "update-failed")
    assert "0x800F0922" in caught.value.what
    assert "CBS.log" in caught.value.hint
    assert groups_of("failing") == []


def test_an_update_that_the_base_has_overtaken_is_superseded_and_the_next_one_counts(
    define: Define, profile: CloudProfile, groups_of: Groups
) -> None:
    overtaken = {"kb": "KB5999001", "url": "https://catalog.example.com/windows10.0-kb5999001-x64-20348.5256.msu", "build": "20348.5256"}
    asked = {"kb": AUGUST["kb"], "build": AUGUST["build"]}
    result = build_image(ImageChoice(define(**updated("overtaken", overtaken, asked))), "local", "")
    inventory = Inventory.model_validate_json((Path(result["folder"]) / "inventory.json").read_text())
    assert inventory.os.version == "20348.5499"
    assert {"KB5999001", "KB5120242"} & {qfe.kb for qfe in inventory.qfes} == {"KB5120242"}
    assert groups_of("overtaken") == []


def test_an_update_for_another_windows_is_refused(define: Define, profile: CloudProfile, faults: FaultControl, groups_of: Groups) -> None:
    other = {"kb": "KB5025229", "url": "https://catalog.example.com/windows10.0-kb5025229-x64.msu"}
    with pytest.raises(StageError, match=r"KB5025229.*does not apply to this Windows") as caught:
        build_image(ImageChoice(define(**updated("foreign", other))), "local", "")
    assert "0x80240017" in caught.value.what
    agent = {"kb": "KB5025229"}
    with pytest.raises(StageError, match="Windows Update does not offer it to this Windows") as caught:
        build_image(ImageChoice(define(**updated("unoffered", agent))), "local", "")
    assert (caught.value.stage, caught.value.code) == ("install-agent-update", "update-not-offered")
    assert "for another Windows" in caught.value.hint
    assert groups_of("foreign") == groups_of("unoffered") == []


def test_a_kb_without_a_file_is_installed_by_the_windows_update_agent_alone(
    define: Define, profile: CloudProfile, groups_of: Groups
) -> None:
    result = build_image(ImageChoice(define(**updated("asked", {"kb": "KB5120242", "build": "20348.5499"}))), "local", "")
    inventory = Inventory.model_validate_json((Path(result["folder"]) / "inventory.json").read_text())
    # Windows Update has newer ones: exactly the one that is listed is there.
    assert inventory.os.version == "20348.5499"
    assert "KB5120242" in {qfe.kb for qfe in inventory.qfes}
    names = [step["name"] for step in json.loads((Path(result["folder"]) / "timings.json").read_text())["steps"]]
    assert "Updates (Windows Update)" in names
    assert groups_of("asked") == []
