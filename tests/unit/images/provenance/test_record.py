"""The provenance names everything that went into a build and came out of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from images.errors import VerificationError
from images.fingerprint import digest
from images.lock import LockedUpdate
from images.notes.facts import BuildSource
from images.plan import make_plan
from images.provenance.record import BuildRun, FileDigest, record_provenance
from images.provenance.statement import Statement, read_statement
from tests.unit.images.notes.parts import facts_of, small_inventory
from tests.unit.images.samples import lock_of, rich_definition, scripts, sha256

DEFINITION = rich_definition()
LOCK = lock_of(DEFINITION)
PLAN = make_plan(DEFINITION, LOCK, scripts=scripts(), uploads={"NOTICE": "text"})
RUN = BuildRun(
    cloud="local",
    copy_to="",
    started=datetime(2026, 8, 12, 1, 0, tzinfo=UTC),
    finished=datetime(2026, 8, 12, 2, 0, tzinfo=UTC),
    versions={"winvhd": "0.1.0", "prefect": "3.9.1"},
)
MADE = {"image.vhd": FileDigest("f" * 64, 1024), "inventory.json": FileDigest("1" * 64, 10)}


def _record(run: BuildRun = RUN, **facts: Any) -> Statement:
    return record_provenance(facts_of(small_inventory(), **facts), DEFINITION, LOCK, PLAN, run, MADE)


def _written() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(_record().render())
    return document


def test_statement_has_the_types_and_fields_of_in_toto_and_slsa() -> None:
    written = _written()
    assert list(written) == ["_type", "subject", "predicateType", "predicate"]
    assert (written["_type"], written["predicateType"]) == ("https://in-toto.io/Statement/v1", "https://slsa.dev/provenance/v1")
    definition, details = written["predicate"]["buildDefinition"], written["predicate"]["runDetails"]
    assert set(definition) == {"buildType", "externalParameters", "internalParameters", "resolvedDependencies"}
    assert set(details) == {"builder", "metadata", "byproducts"}
    assert details["metadata"] == {
        "invocationId": facts_of(small_inventory()).build_id,
        "startedOn": "2026-08-12T01:00:00Z",
        "finishedOn": "2026-08-12T02:00:00Z",
    }


def test_every_file_is_a_subject_with_digest_and_size() -> None:
    assert _written()["subject"] == [
        {"name": "image.vhd", "digest": {"sha256": "f" * 64}, "annotations": {"sizeBytes": 1024}},
        {"name": "inventory.json", "digest": {"sha256": "1" * 64}, "annotations": {"sizeBytes": 10}},
    ]


def test_dependencies_are_base_source_lock_and_everything_that_the_lock_pins() -> None:
    entries = _record().predicate.build_definition.resolved_dependencies
    found = {entry.name: entry for entry in entries}
    assert len(found) == len(entries)
    assert found["base image"].uri == f"urn:azure:marketplace-image:{PLAN.base.urn}"
    assert (found["source"].digest or {})["gitCommit"].startswith("87b4b34e")
    assert found["lock"].sha256 == digest(LOCK.model_dump(mode="json"))
    for file in LOCK.files:
        (entry,) = [entry for entry in entries if entry.download_location == file.url]
        assert entry.sha256 == file.sha256
    for image in LOCK.container_images:
        assert f"sha256:{found[image.reference].sha256}" == image.digest
        assert (found[image.reference].uri or "").startswith("pkg:oci/")
    assert found["KB5120241"].download_location == "https://updates.example/windows10.0-kb5120241-x64.msu"
    assert found["wcn.zip"].sha256 == sha256("wcn")
    # The address is a secret.
    assert found["fix.zip"].model_dump(exclude_none=True) == {"name": "fix.zip", "digest": {"sha256": "a" * 64}}


def test_update_from_the_agent_has_no_digest_and_a_checkout_without_git_no_source() -> None:
    lock = LOCK.model_copy(update={"updates": (LockedUpdate(kb="KB5120241"),)})
    facts = facts_of(small_inventory(), source=BuildSource())
    entries = record_provenance(facts, DEFINITION, lock, PLAN, RUN, MADE).predicate.build_definition.resolved_dependencies
    found = {entry.name: entry for entry in entries}
    assert found["KB5120241"].digest is None
    assert "source" not in found


def test_byproducts_are_the_fingerprints_of_the_layers() -> None:
    byproducts = _record().predicate.run_details.byproducts
    assert {(entry.name, entry.sha256) for entry in byproducts} == {
        (f"layer {layer.name.value}", layer.fingerprint) for layer in PLAN.layers
    }


def test_copy_is_a_parameter_only_where_one_was_asked_for() -> None:
    assert "copyTo" not in _record().predicate.build_definition.external_parameters
    copied = BuildRun(RUN.cloud, "https://other.example/images/a.vhd", RUN.started, RUN.finished, RUN.versions)
    assert _record(copied).predicate.build_definition.external_parameters["copyTo"] == copied.copy_to


def test_same_build_gives_the_same_bytes_which_read_back() -> None:
    text = _record().render()
    assert _record().render() == text
    assert read_statement(text.encode()) == _record()


def test_fields_of_later_versions_are_ignored() -> None:
    written = _written() | {"extra": 1}
    written["predicate"]["runDetails"]["extra"] = 1
    assert read_statement(json.dumps(written).encode()) == _record()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "Invalid JSON"),
        (b"[]", "object"),
        (json.dumps(_written() | {"_type": "https://in-toto.io/Statement/v0.1"}).encode(), "_type"),
        (json.dumps(_written() | {"predicateType": "https://slsa.dev/provenance/v0.2"}).encode(), "predicateType"),
        (json.dumps(_written() | {"subject": []}).encode(), "subject"),
    ],
)
def test_anything_else_is_refused_with_the_field_named(content: bytes, told: str) -> None:
    with pytest.raises(VerificationError, match=told):
        read_statement(content)
