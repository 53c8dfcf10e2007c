"""The record of a layer comes back as it was put, and the latest ones come first."""

from __future__ import annotations

import time

import pytest

from images.layer_record import LayerRecord, RecordedStage
from images.stages.contract import LayerName
from infra.azure.blob_storage import ensure_container
from infra.azure.layer_records import LayerRecords
from infra.azure.session import Cloud


@pytest.fixture
def records(cloud: Cloud, container: str) -> LayerRecords:
    ensure_container(cloud, container)
    return LayerRecords(cloud, container=container)


def _record(fingerprint: str, layer: LayerName = LayerName.OS, **changes: object) -> LayerRecord:
    stage = RecordedStage(stage="install-features", input={"features": ["Containers"], "limit": None, "größe": 1.5}, restart_after=True)
    fields = {
        "layer": layer,
        "fingerprint": fingerprint,
        "parent": "root",
        "image": "small",
        "recorded_at": "2026-09-09T12:00:00Z",
        "root": {"sku": "2022-datacenter-core-smalldisk", "os_disk_gib": 35},
        "scripts": {"Install-NodeFeature.ps1": "ab" * 32},
        "stages": (stage,),
    }
    return LayerRecord.model_validate(fields | changes)


def test_a_record_comes_back_whole_from_whichever_layer_it_is(records: LayerRecords) -> None:
    os_layer, artifacts = _record("aa"), _record("bb", LayerName.ARTIFACTS)
    records.put(os_layer)
    records.put(artifacts)
    assert records.of_layer("os") == [os_layer]
    assert records.of_layer("artifacts") == [artifacts]


def test_the_records_of_a_layer_are_its_own_latest_first(records: LayerRecords) -> None:
    older, newer, other = _record("ff"), _record("aa"), _record("bb", LayerName.RUNTIME)
    records.put(older)
    records.put(other)
    # Blob storage knows the time to the second.
    time.sleep(1.01)
    records.put(newer)
    assert records.of_layer("os") == [newer, older]
    assert records.of_layer("os", newest=1) == [newer]
    assert records.of_layer(LayerName.RUNTIME) == [other]
    assert records.of_layer("images") == []


def test_putting_a_fingerprint_again_replaces_its_record(records: LayerRecords) -> None:
    records.put(_record("aa"))
    again = _record("aa", image="other")
    records.put(again)
    assert records.of_layer("os") == [again]


def test_a_record_of_another_version_of_the_program_is_left_out(records: LayerRecords, cloud: Cloud, container: str) -> None:
    records.put(_record("aa"))
    with cloud.blobs().get_blob_client(container, "layers/os/bb.json") as blob:
        blob.upload_blob(_record("bb").model_dump_json().replace('"parent"', '"base"').encode())
    assert [record.fingerprint for record in records.of_layer("os")] == ["aa"]
