"""What the Prefect server is told: forms with lists to choose from and words on every field, schedules, limits, automations, blocks."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import yaml

from images.definition import E2ESuite
from images.loading import definition_names
from images.private_fix import FixKind
from infra.prefect.registration import AUTOMATIONS_FILE, DEPLOYED_HERE, PREFECT_FILE
from tests.ui.conftest import Served

IMAGES = list(definition_names())
FIX = {"image": "windows-2025", "source": "my-fix", "sha256": "a" * 64, "kind": "msu"}
PRIVATE = "validate-private-fix/validate-private-fix"
MONTHLY = ("monthly-patch-build/monthly-b-week", "monthly-patch-build/monthly-preview")


def _declared() -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = yaml.safe_load(PREFECT_FILE.read_text(encoding="utf-8"))["deployments"]
    return content


def _full_name(declared: dict[str, Any]) -> str:
    """FLOW/DEPLOYMENT."""
    flow = declared["entrypoint"].rpartition(":")[2].replace("_", "-")
    return f"{flow}/{declared['name']}"


def _here(value: Any) -> Any:
    """A declared value as `local up` fills it in."""
    given = {f"{{{{ ${name} }}}}": text for name, text in DEPLOYED_HERE.items()}
    return given.get(value, value) if isinstance(value, str) else value


def _form(served: Served, deployment: str) -> dict[str, Any]:
    schema: dict[str, Any] = served.deployment(deployment)["parameter_openapi_schema"]
    return schema


def _choices(schema: dict[str, Any], field: dict[str, Any]) -> list[str]:
    """What a list of the form offers, directly or through a definition."""
    where = field.get("items", field)
    if "$ref" in where:
        where = schema["definitions"][where["$ref"].rpartition("/")[2]]
    offered: list[str] = where["enum"]
    return offered


@pytest.mark.parametrize(
    ("deployment", "field", "choices"),
    [
        ("build-image/build-image", "image", IMAGES),
        ("build-image/build-image", "rebuild", ["changed", "image", "everything"]),
        ("build-images/build-images", "images", IMAGES),
        (MONTHLY[0], "images", IMAGES),
        (MONTHLY[0], "kind", ["b-week", "preview"]),
        (PRIVATE, "image", IMAGES),
        (PRIVATE, "kind", list(FixKind)),
        (PRIVATE, "suites", list(E2ESuite)),
        *((_full_name(declared), "cloud", ["local", "azure"]) for declared in _declared()),
    ],
)
def test_form_offers_a_list_where_there_is_one(served: Served, deployment: str, field: str, choices: list[str]) -> None:
    schema = _form(served, deployment)
    assert _choices(schema, schema["properties"][field]) == choices


@pytest.mark.parametrize(
    ("deployment", "required"),
    [
        ("build-image/build-image", ["image"]),
        ("build-images/build-images", ["images"]),
        (MONTHLY[0], []),
        (PRIVATE, ["image", "source", "sha256", "kind"]),
        ("reap-resources/reap-resources", []),
    ],
)
def test_form_asks_for_what_nobody_else_can_know(served: Served, deployment: str, required: list[str]) -> None:
    assert _form(served, deployment).get("required", []) == required


@pytest.mark.parametrize("declared", _declared(), ids=_full_name)
def test_deployment_and_each_of_its_parameters_are_described(served: Served, declared: dict[str, Any]) -> None:
    deployment = served.deployment(_full_name(declared))
    assert deployment["description"].strip() == declared["description"].strip()
    assert deployment["tags"] == declared["tags"]
    properties = deployment["parameter_openapi_schema"]["properties"]
    assert properties and all(len(field["description"]) > 15 for field in properties.values())
    for model in deployment["parameter_openapi_schema"].get("definitions", {}).values():
        assert all(field["description"] for field in model.get("properties", {}).values())
    # What the form shows first is a run that can be submitted, but for what only the person knows.
    assert deployment["parameters"] == {name: _here(value) for name, value in declared["parameters"].items()}
    assert set(properties) >= set(deployment["parameters"])


@pytest.mark.parametrize("declared", _declared(), ids=_full_name)
def test_schedules_are_the_declared_ones(served: Served, declared: dict[str, Any]) -> None:
    deployment = served.deployment(_full_name(declared))
    registered = {
        entry["slug"]: (
            # The server puts a DTSTART before the rule.
            entry["schedule"].get("cron") or entry["schedule"]["rrule"].splitlines()[-1],
            entry["schedule"]["timezone"],
            entry["active"],
        )
        for entry in deployment["schedules"]
    }
    assert registered == {
        entry["slug"]: (entry.get("cron") or entry["rrule"], entry["timezone"], _here(entry["active"]) in (True, "true"))
        for entry in declared.get("schedules", [])
    }
    assert deployment["work_pool_name"] == declared["work_pool"]["name"]


def test_nothing_is_built_on_this_machine_without_being_asked_for(served: Served) -> None:
    active = [
        _full_name(declared) for declared in _declared() if any(s["active"] for s in served.deployment(_full_name(declared))["schedules"])
    ]
    assert active == ["reap-resources/reap-resources"]


@pytest.mark.parametrize("name", MONTHLY)
def test_second_monthly_run_waits_for_the_first(served: Served, name: str) -> None:
    deployment = served.deployment(name)
    assert deployment["global_concurrency_limit"]["limit"] == 1
    assert deployment["concurrency_options"]["collision_strategy"] == "ENQUEUE"


def test_private_fix_has_no_schedule_no_default_of_its_own_and_the_tag(served: Served) -> None:
    deployment = served.deployment(PRIVATE)
    assert (deployment["schedules"], "private" in deployment["tags"]) == ([], True)
    assert not {"source", "sha256", "kind"} & set(deployment["parameters"])


def test_automations_are_registered_once(served: Served) -> None:
    declared = yaml.safe_load(AUTOMATIONS_FILE.read_text(encoding="utf-8"))["automations"]
    registered = served.post("/automations/filter", {})
    assert sorted(entry["name"] for entry in registered) == sorted(entry["name"] for entry in declared)
    assert all(entry["enabled"] for entry in registered)


@pytest.mark.parametrize(
    ("deployment", "parameters", "field"),
    [
        ("build-image/build-image", {"image": "windows-3.11"}, "windows-3.11"),
        ("build-image/build-image", {"cloud": "moon"}, "moon"),
        ("build-image/build-image", {"copy_to": 3}, "copy_to"),
        ("build-images/build-images", {"images": ["windows-2025", "windows-3.11"]}, "windows-3.11"),
        ("build-images/build-images", {"images": "windows-2025"}, "images"),
        ("build-images/build-images", {"rebuild": "all"}, "rebuild"),
        (MONTHLY[0], {"kind": "c-week"}, "c-week"),
        (MONTHLY[0], {"as_of": 3}, "as_of"),
        (MONTHLY[0], {"as_of": "next Tuesday"}, "next Tuesday"),
        (MONTHLY[1], {"as_of": "20260812"}, "20260812"),
        (MONTHLY[1], {"images": ["windows-3.11"]}, "windows-3.11"),
        (PRIVATE, {}, "source"),
        (PRIVATE, {**FIX, "source": "https://example.com/fix.msu"}, "source"),
        (PRIVATE, {**FIX, "sha256": "abc"}, "sha256"),
        (PRIVATE, {**FIX, "kind": "rpm"}, "rpm"),
        (PRIVATE, {**FIX, "suites": ["first-boot", "looks-nice"]}, "looks-nice"),
        (PRIVATE, {**FIX, "ttl_days": 31}, "ttl_days"),
        (PRIVATE, {**FIX, "registry": [{"path": r"HKCU:\Software\x", "name": "a", "value": 1}]}, "registry[0].path"),
        ("reap-resources/reap-resources", {"keep": "all"}, "keep"),
    ],
)
def test_bad_parameter_is_refused_when_the_run_is_created(served: Served, deployment: str, parameters: dict[str, Any], field: str) -> None:
    found = served.deployment(deployment)
    runs = {"deployments": {"id": {"any_": [found["id"]]}}, "flow_runs": {"state": {"type": {"not_any_": ["SCHEDULED"]}}}}
    before = served.post("/flow_runs/count", runs)
    with pytest.raises(httpx.HTTPStatusError) as refused:
        served.post(f"/deployments/{found['id']}/create_flow_run", {"parameters": parameters})
    assert refused.value.response.status_code == httpx.codes.CONFLICT
    assert field in refused.value.response.text
    assert served.post("/flow_runs/count", runs) == before


@pytest.mark.parametrize(
    ("slug", "name", "secret"),
    [("private-fix-source", "Private fix source", "url"), ("git-credentials", "Git credentials", "token")],
)
def test_block_types_of_ours_are_there_and_keep_their_secret(served: Served, slug: str, name: str, secret: str) -> None:
    (block_type,) = served.post("/block_types/filter", {"block_types": {"slug": {"any_": [slug]}}})
    assert block_type["name"] == name
    assert block_type["description"]
    schemas = served.post("/block_schemas/filter", {"block_schemas": {"block_type_id": {"any_": [block_type["id"]]}}})
    assert schemas[0]["fields"]["secret_fields"] == [secret]
    assert all(len(field["description"]) > 15 for field in schemas[0]["fields"]["properties"].values())
