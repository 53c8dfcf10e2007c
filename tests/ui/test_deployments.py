"""What the Prefect server is told: forms with a list of images and words on every field, schedules, automations."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import yaml

from images.loading import definition_names
from infra.prefect.registration import AUTOMATIONS_FILE, PREFECT_FILE
from tests.ui.conftest import Served


def _declared() -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = yaml.safe_load(PREFECT_FILE.read_text(encoding="utf-8"))["deployments"]
    return content


def _full_name(declared: dict[str, Any]) -> str:
    return f"{declared['name']}/{declared['name']}"


def test_form_offers_the_committed_images_by_name(served: Served) -> None:
    schema = served.deployment("build-image/build-image")["parameter_openapi_schema"]
    assert schema["properties"]["image"]["enum"] == list(definition_names())
    assert schema["required"] == ["image"]
    assert schema["properties"]["cloud"]["enum"] == ["local", "azure"]


@pytest.mark.parametrize("declared", _declared(), ids=_full_name)
def test_deployment_and_each_of_its_parameters_are_described(served: Served, declared: dict[str, Any]) -> None:
    deployment = served.deployment(_full_name(declared))
    assert deployment["description"].strip()
    properties = deployment["parameter_openapi_schema"]["properties"]
    assert properties and all(len(field["description"]) > 15 for field in properties.values())
    # What the form shows first is a run that can be submitted.
    assert set(properties) >= set(deployment["parameters"]) == set(declared["parameters"])


@pytest.mark.parametrize("declared", _declared(), ids=_full_name)
def test_schedules_are_the_declared_ones(served: Served, declared: dict[str, Any]) -> None:
    deployment = served.deployment(_full_name(declared))
    registered = [(entry["schedule"]["cron"], entry["schedule"]["timezone"], entry["active"]) for entry in deployment["schedules"]]
    assert registered == [(entry["cron"], entry["timezone"], entry["active"]) for entry in declared.get("schedules", [])]
    assert deployment["work_pool_name"] == declared["work_pool"]["name"]


def test_automations_are_registered_once(served: Served) -> None:
    declared = yaml.safe_load(AUTOMATIONS_FILE.read_text(encoding="utf-8"))["automations"]
    registered = served.post("/automations/filter", {})
    assert sorted(entry["name"] for entry in registered) == sorted(entry["name"] for entry in declared)
    assert all(entry["enabled"] for entry in registered)


@pytest.mark.parametrize(
    ("parameters", "field"),
    [({"image": "windows-3.11"}, "windows-3.11"), ({"cloud": "moon"}, "moon"), ({"copy_to": 3}, "copy_to")],
)
def test_bad_parameter_is_refused_when_the_run_is_created(served: Served, parameters: dict[str, Any], field: str) -> None:
    before = served.build_runs()
    with pytest.raises(httpx.HTTPStatusError) as refused:
        served.start_run(**parameters)
    assert refused.value.response.status_code == httpx.codes.CONFLICT
    assert field in refused.value.response.text
    assert served.build_runs() == before


def test_the_block_type_of_private_fixes_is_there_and_its_address_is_a_secret(served: Served) -> None:
    (block_type,) = served.post("/block_types/filter", {"block_types": {"slug": {"any_": ["private-fix-source"]}}})
    assert block_type["name"] == "Private fix source"
    assert block_type["description"]
    schemas = served.post("/block_schemas/filter", {"block_schemas": {"block_type_id": {"any_": [block_type["id"]]}}})
    assert schemas[0]["fields"]["secret_fields"] == ["url"]
    assert all(len(field["description"]) > 15 for field in schemas[0]["fields"]["properties"].values())
