"""`winvhd inspect` of a file, of a blob with and without SAS, and of a snapshot: the same inventory, and no secret in what it says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from azure.mgmt.compute.models import Disk, Snapshot
from azure.storage.blob import BlobClient
from typer.testing import CliRunner, Result

from flows.cli.main import app
from images.errors import CloudError, ConfigurationError
from infra.azure.blob_sas import read_sas
from infra.azure.session import Cloud
from infra.azure.snapshot_access import SnapshotId, snapshot_read_access
from infra.vhd.inspect import inspect_path
from tasks.capture_vhd import VHD_NAME
from tasks.locate_disk import BUILT_DISK
from tests.contract.inspect.conftest import BuiltImage


def _inspect(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["inspect", *arguments])


def _parts(url: str) -> tuple[str, str]:
    with BlobClient.from_blob_url(url) as blob:
        return blob.container_name, blob.blob_name


@pytest.fixture
def snapshot_id(built: BuiltImage, cloud: Cloud) -> Iterator[str]:
    """A snapshot of a disk that was imported from the built VHD."""
    profile = cloud.profile
    group, location = "inspect-test", profile.location
    sas = read_sas(cloud, *_parts(built.vhd_url), hours=1).get_secret_value()
    account = (
        f"/subscriptions/{profile.subscription_id}/resourceGroups/x/providers/Microsoft.Storage/storageAccounts/{profile.storage.account}"
    )
    cloud.resources.resource_groups.create_or_update(group, {"location": location})
    creation = {"createOption": "Import", "sourceUri": sas, "storageAccountId": account}
    disk = Disk({"location": location, "properties": {"creationData": creation, "diskSizeGB": 40, "hyperVGeneration": "V1"}})
    made = cloud.compute.disks.begin_create_or_update(group, "source", disk).result()
    # Neither the disk nor its document keeps the token; asking for the same once more is no change.
    assert "sig=" not in str(made.as_dict())
    assert cloud.compute.disks.begin_create_or_update(group, "source", disk).result().id == made.id
    content = Snapshot({"location": location, "properties": {"creationData": {"createOption": "Copy", "sourceResourceId": made.id}}})
    snapshot = cloud.compute.snapshots.begin_create_or_update(group, "checkpoint", content).result()
    assert snapshot.id is not None
    yield snapshot.id
    cloud.resources.resource_groups.begin_delete(group).result()


def test_file_blob_and_folder_give_the_same_inventory(built: BuiltImage, cloud: Cloud) -> None:
    sas = read_sas(cloud, *_parts(built.vhd_url), hours=1).get_secret_value()
    wanted = json.loads(inspect_path(built.vhd).inventory.model_dump_json())
    for where in (str(built.vhd), str(built.folder), built.vhd_url, sas):
        outcome = _inspect(where, "--json")
        assert outcome.exit_code == 0, outcome.output
        assert json.loads(outcome.stdout) == wanted
        assert "sig=" not in outcome.output
        assert "requests" in outcome.stderr


def test_little_of_a_blob_is_read(built: BuiltImage) -> None:
    outcome = _inspect(built.vhd_url)
    share = float(outcome.stderr.partition("(")[2].partition("%")[0])
    assert 0 < share <= 1


def test_hashes_come_with_hash_only(built: BuiltImage) -> None:
    for arguments, hashed in (((), False), (("--hash",), True)):
        found = json.loads(_inspect(str(built.vhd), "--json", *arguments).stdout)
        assert all(bool(file["sha256"]) is hashed for file in found["cached_files"])


def test_summary_names_windows_images_and_files(built: BuiltImage) -> None:
    shown = _inspect(str(built.vhd)).stdout
    assert shown.startswith("Windows Server 2022 Datacenter 20348.5499")
    assert "mcr.microsoft.com/oss/v2/kubernetes/pause:3.10.2" in shown
    assert "csi-proxy-v1.1.2.tar.gz" in shown


def test_snapshot_is_read_and_its_access_revoked(snapshot_id: str, built: BuiltImage, cloud: Cloud) -> None:
    outcome = _inspect(snapshot_id, "--json")
    assert outcome.exit_code == 0, outcome.output
    assert json.loads(outcome.stdout)["vhd_id"] == built.live.vhd_id
    assert "sig=" not in outcome.output
    with snapshot_read_access(cloud, SnapshotId.parse(snapshot_id)) as sas:
        assert httpx.head(sas.get_secret_value()).status_code == httpx.codes.OK
    assert httpx.head(sas.get_secret_value()).is_client_error


def test_access_is_revoked_after_an_error_too(snapshot_id: str, cloud: Cloud) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        snapshot_read_access(cloud, SnapshotId.parse(snapshot_id)) as sas,
    ):
        raise ZeroDivisionError
    assert httpx.head(sas.get_secret_value()).is_client_error


def test_snapshot_that_is_not_there_or_elsewhere_is_a_typed_error(cloud: Cloud) -> None:
    elsewhere = "/subscriptions/{}/resourceGroups/g/providers/Microsoft.Compute/snapshots/s"
    missing = _inspect(elsewhere.format(cloud.profile.subscription_id))
    assert missing.exit_code == CloudError.exit_code, missing.output
    other = _inspect(elsewhere.format("0" * 8 + "-0000-0000-0000-" + "0" * 12))
    assert other.exit_code == ConfigurationError.exit_code, other.output
    assert "--profile" in other.output


def test_wrong_sources_are_typed_errors_without_traceback(built: BuiltImage, tmp_path: Path) -> None:
    truncated = tmp_path / "truncated.vhd"
    truncated.write_bytes(built.vhd.read_bytes()[:-4096])
    cases = {
        str(tmp_path / "none.vhd"): "no file",
        str(truncated): "footer",
        "/subscriptions/x": "not the id of a snapshot",
        built.vhd_url.replace("image.vhd", "none.vhd"): "BlobNotFound",
        built.vhd_url + "?sv=2024": "query without a signature",
        "https://other.blob.core.windows.net/vhds/image.vhd": "no storage account of the local profile",
    }
    for where, wanted in cases.items():
        outcome = _inspect(where)
        assert isinstance(outcome.exception, SystemExit), outcome.exception
        assert outcome.exit_code > 2
        assert wanted.lower() in outcome.output.lower().replace("\n", " "), outcome.output
        assert "sig=" not in outcome.output


def test_name_of_the_built_disk_is_the_captures() -> None:
    assert BUILT_DISK == VHD_NAME
