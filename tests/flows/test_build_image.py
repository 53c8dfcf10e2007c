"""The main job on the stand-in, from the definition to the last deleted resource."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest
import yaml
from prefect import flow
from prefect.blocks.system import Secret

from flows.build_image import build_image
from flows.choices import ImageChoice
from images.errors import BootTestError, ConfigurationError, StageError, UnresolvedLockError
from images.inventory import Inventory
from images.loading import load_definition
from infra.azure.blob_storage import BuildBlobs
from infra.azure.page_blob import hash_page_blob
from infra.azure.profile import CloudProfile
from infra.azure.session import Cloud
from infra.local.disks.store import FolderDiskStore
from tasks.boot_test import boot_test, judge
from tasks.build import open_build
from tasks.build_once import build_once
from tasks.provision_vm import resources_of
from tasks.store_results import BuiltImage, Recipe
from tests.flows.driving import capture_again, plan_of
from tests.standin_fixtures import SMALL

DOCUMENTS = {
    "plan.json",
    "inventory.json",
    "release-notes.txt",
    "release-notes.md",
    "image-bom.json",
    "sbom.cdx.json",
    "provenance.json",
    "vhd-publishing-info.json",
    "e2e.xml",
    "timings.json",
}


@pytest.fixture(scope="session")
def built_cache() -> dict[str, Any]:
    """Results of builds that several tests look at."""
    return {}


@pytest.fixture
def built(profile: CloudProfile, define: Callable[..., str], built_cache: dict[str, Any]) -> dict[str, Any]:
    """One finished build of the small definition, with a copy."""
    if "small" not in built_cache:
        built_cache["small"] = build_image(ImageChoice(define(os_disk_gib=72)), "local", "winvhdcopy/images")
    result: dict[str, Any] = built_cache["small"]
    return result


def test_build_leaves_every_document_in_its_folder_and_in_blob_storage(built: dict[str, Any], cloud: Cloud) -> None:
    folder = Path(built["folder"])
    assert {path.name for path in folder.iterdir()} == DOCUMENTS | {"image.vhd"}
    assert set(BuildBlobs(cloud, built["build_id"]).list()) == DOCUMENTS | {"image.vhd"}


def test_build_deletes_every_resource_it_made(built: dict[str, Any], resource_groups: Callable[[], list[str]]) -> None:
    assert not [name for name in resource_groups() if built["build_id"] in name]


def test_inventory_holds_what_the_definition_asks_for(built: dict[str, Any]) -> None:
    inventory = Inventory.model_validate_json((Path(built["folder"]) / "inventory.json").read_text())
    assert inventory.os.version == "20348.5499"
    assert "Containers" in {feature.name for feature in inventory.features}
    assert {image.name for image in inventory.container_images} >= {"mcr.microsoft.com/oss/v2/kubernetes/pause:3.10.2"}
    assert r"c:\akse-cache\win-k8s\v1.34.9-1int.zip" in {file.path.lower() for file in inventory.cached_files}
    assert inventory.vhd_id == built["vhd_id"]


def test_checks_of_the_boot_test_are_in_the_junit_file(built: dict[str, Any]) -> None:
    root = ElementTree.parse(Path(built["folder"]) / "e2e.xml").getroot()
    assert root.get("failures") == "0"
    names = {f"{suite.get('name')}: {case.get('name')}" for suite in root for case in suite}
    assert {"first-boot: no leftovers of the build", "node-bootstrap: the origin's request log agrees"} <= names


def test_timings_name_every_stage_with_its_layer(built: dict[str, Any]) -> None:
    timings = json.loads((Path(built["folder"]) / "timings.json").read_text())
    layers = {step["layer"] for step in timings["steps"]}
    assert {"os", "runtime", "images", "artifacts", "finish"} <= layers
    assert all(step["seconds"] >= 0 and step["outcome"] == "built" for step in timings["steps"])
    assert timings["winrm"]["round_trips"] > 0


def test_copy_has_the_captured_content(built: dict[str, Any], cloud: Cloud) -> None:
    assert built["copied_to"].endswith(f"/images/{built['build_id']}.vhd")
    (target,) = cloud.profile.copy_targets
    with cloud.blobs(target).get_blob_client("images", f"{built['build_id']}.vhd") as blob:
        assert hash_page_blob(blob).sha256 == built["vhd_sha256"]


def test_second_build_gets_the_next_version_and_reuses_the_artifact_cache(
    built: dict[str, Any], define: Callable[..., str], profile: CloudProfile
) -> None:
    again = build_image(ImageChoice(define(e2e_suites=[])), "local", "")
    assert int(again["image_version"].rpartition(".")[2]) == int(built["image_version"].rpartition(".")[2]) + 1
    assert again["vhd_id"] != built["vhd_id"]


def test_bootstrap_fails_when_one_cached_file_is_taken_away(
    built: dict[str, Any], define: Callable[..., str], profile: CloudProfile, tmp_path: Path
) -> None:
    file = Path(define(os_disk_gib=72))
    definition = load_definition(file)
    store = FolderDiskStore(tmp_path / "disks")
    store.import_vhd(Path(built["folder"]) / "image.vhd", "opened", "V1", definition.os_disk_gib)
    (notes,) = (tmp_path / "disks" / "opened" / "C").glob("release-notes.txt")
    assert notes.read_text(encoding="utf-8") == (Path(built["folder"]) / "release-notes.txt").read_text(encoding="utf-8")
    (taken,) = (tmp_path / "disks").rglob("v1.34.9-1int.zip")
    taken.unlink()
    store.export_vhd("opened", tmp_path / "robbed.vhd")

    @flow(name="boot-a-robbed-image")
    def boot_robbed_image() -> None:
        with open_build(definition.name, "local") as build:
            lock, plan = plan_of(definition, file, build)
            with capture_again(build, plan, tmp_path / "robbed.vhd") as captured:
                judge(build, definition, boot_test(build, definition, lock, plan, captured.url))

    with pytest.raises(BootTestError, match=r"node-bootstrap: 1\.34\.9 v1\.34\.9-1int\.zip"):
        boot_robbed_image()


def test_plain_base_image_bootstraps_by_downloading(define: Callable[..., str], profile: CloudProfile) -> None:
    result = build_image(ImageChoice(define(name="plain", e2e_suites=["plain-bootstrap"])), "local", "")
    root = ElementTree.parse(Path(result["folder"]) / "e2e.xml").getroot()
    (suite,) = [suite for suite in root if suite.get("name") == "plain-bootstrap"]
    assert suite.get("failures") == "0"
    assert "the origin's request log agrees" in {case.get("name") for case in suite}


def test_generation_2_image_is_built_from_a_generation_2_disk(define: Callable[..., str], profile: CloudProfile) -> None:
    base = {
        "publisher": "MicrosoftWindowsServer",
        "offer": "WindowsServer",
        "sku": "2025-datacenter-core-smalldisk-g2",
        "version": "26100.33296.260809",
        "generation": "V2",
    }
    result = build_image(ImageChoice(define(name="second-generation", base=base, container_images=[])), "local", "")
    inventory = Inventory.model_validate_json((Path(result["folder"]) / "inventory.json").read_text())
    assert (inventory.os.generation, inventory.os.version) == ("V2", "26100.33296")


def test_azure_profile_builds_with_nothing_but_endpoints_and_credential_overridden(
    define: Callable[..., str], profile: CloudProfile, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from images.lock import LockOrigin
    from tasks.resolve_lock import lock_path, make_lock, write_lock

    path = tmp_path / "azure.yaml"
    content = json.loads(profile.model_dump_json()) | {"name": "azure", "source_address": "127.0.0.1"}
    for stored, access in ((content["storage"], profile.storage), *zip(content["copy_targets"], profile.copy_targets, strict=True)):
        assert access.key is not None
        stored["key"] = access.key.get_secret_value()
    path.write_text(yaml.safe_dump(content))
    monkeypatch.setenv("WINVHD_AZURE_PROFILE", str(path))
    file = Path(define(name="azure-small"))
    definition = load_definition(file)
    with pytest.raises(UnresolvedLockError, match="has no lock"):
        build_image(ImageChoice(file), "azure", "")
    committed = lock_path(file, LockOrigin.PUBLIC)
    with open_build(definition.name, "azure") as build:
        write_lock(make_lock(definition, build.cloud, LockOrigin.STAND_IN), committed)
        with pytest.raises(UnresolvedLockError, match="stand-in"):
            build_image(ImageChoice(file), "azure", "")
        write_lock(make_lock(definition, build.cloud, LockOrigin.PUBLIC), committed)
    result = build_image(ImageChoice(file), "azure", "")
    assert result["checks_passed"] > 0


def test_copy_to_an_unknown_account_is_refused_before_anything_is_built(
    define: Callable[..., str], profile: CloudProfile, resource_groups: Callable[[], list[str]]
) -> None:
    before = resource_groups()
    with pytest.raises(ConfigurationError, match="nowhere"):
        build_image(ImageChoice(define()), "local", "nowhere/images")
    assert resource_groups() == before


def test_definition_that_uses_every_setting_is_built_as_asked(define: Callable[..., str], profile: CloudProfile) -> None:
    private_url = profile.route("https://secret.example.com/fix-tool.zip?token=not-for-anybody")
    private = httpx.get(private_url, timeout=30).content
    Secret(value=private_url).save("fix-tool-url", overwrite=True)
    path = define(
        name="everything",
        base={**SMALL["base"], "version": "20348.5386.260709"},
        features=["Containers", "Hyper-V", "Hyper-V-PowerShell"],
        capabilities=["OpenSSH.Server~~~~0.0.1.0"],
        updates=[
            {
                "kb": "KB5120242",
                "url": "https://catalog.example.com/windows10.0-kb5120242-x64-20348.5499.msu",
                "build": "20348.5499",
            }
        ],
        oci_artifacts=[{"reference": "mcr.microsoft.com/wcn/package:1.7.1-amd64", "destination": "C:\\akse-cache\\wcn\\"}],
        private_packages=[
            {
                "secret": "fix-tool-url",
                "destination": "C:\\akse-cache\\private\\",
                "file_name": "fix-tool.zip",
                "sha256": hashlib.sha256(private).hexdigest(),
            }
        ],
        system={
            "windows_update_off": True,
            "pagefile_mib": 4096,
            "tls_disabled": ["TLS 1.0", "TLS 1.1"],
            "tls_enabled": ["TLS 1.2"],
            "excluded_udp_ports": [65330],
            "openssh": {"password_authentication": False},
        },
        files=[{"source": "NOTICE", "destination": "C:\\NOTICE.txt"}],
        registry=[
            {
                "path": "HKLM:\\SYSTEM\\CurrentControlSet\\Services\\hns\\State",
                "name": "HNSControlFlag",
                "value": 4,
                "operation": "or",
            }
        ],
    )
    result = build_image(ImageChoice(path), "local", "")
    folder = Path(result["folder"])
    inventory = Inventory.model_validate_json((folder / "inventory.json").read_text())
    assert result["os_version"] == "20348.5499"
    assert "KB5120242" in {qfe.kb for qfe in inventory.qfes}
    assert inventory.excluded_udp_ports == (65330,)
    assert "OpenSSH.Server~~~~0.0.1.0" in inventory.capabilities
    cached = {file.path.lower() for file in inventory.cached_files}
    assert r"c:\akse-cache\private\fix-tool.zip" in cached
    assert any(name.startswith("c:\\akse-cache\\wcn\\") for name in cached)
    assert "not-for-anybody" not in "".join(file.read_text() for file in folder.iterdir() if file.name != "image.vhd")


def test_error_of_a_private_package_does_not_tell_its_url(define: Callable[..., str], profile: CloudProfile) -> None:
    Secret(value=profile.route("https://hidden.example.com/unheard-of.zip?token=not-for-anybody")).save("hidden-url", overwrite=True)
    wrong = {"secret": "hidden-url", "destination": "C:\\akse-cache\\private\\", "file_name": "fix.zip", "sha256": "0" * 64}
    with pytest.raises(StageError, match="expected sha256 0000") as raised:
        build_image(ImageChoice(define(name="wrong-private", private_packages=[wrong], e2e_suites=[])), "local", "")
    told = f"{raised.value!r} {raised.value} {raised.value.stderr_tail} {raised.value.hint}"
    assert not [word for word in ("hidden.example.com", "unheard-of", "not-for-anybody") if word in told]


def test_attempt_after_a_failed_boot_test_captures_its_own_disk(
    define: Callable[..., str], profile: CloudProfile, faults: Callable[..., None]
) -> None:
    faults({"point": "guest.stage", "key": "Test-NodeBootstrap.ps1*", "fault": {"code": "file-missing"}})
    path = Path(define(name="twice"))
    definition = load_definition(path)

    @flow(name="build-twice")
    def build_twice() -> BuiltImage:
        with open_build(definition.name, "local") as build:
            lock, plan = plan_of(definition, path, build)
            blobs, recipe = BuildBlobs(build.cloud, build.build_id), Recipe(definition, lock, plan)
            with pytest.raises(StageError, match="file-missing"), resources_of(build, plan):
                build_once(build, recipe, blobs)
            (build.folder / "image.vhd").unlink()
            build.stopping.clear()
            with resources_of(build, plan):
                built = build_once(build, recipe, blobs)
            with blobs.client("image.vhd") as blob:
                assert hash_page_blob(blob).sha256 == built.captured.sha256
            return built

    # A disk that was there already would be the first attempt's.
    assert build_twice().captured.method != "there"
