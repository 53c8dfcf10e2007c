import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.local.faults import Fault, FaultPlan, FaultRule, Faults
from infra.local.machine import containerd, services
from infra.local.machine.bolt import read_database
from infra.local.machine.inventory import take_inventory
from infra.local.origin.server import create_app
from tests.unit.local.machine.conftest import Box, World
from tests.unit.local.origin.serving import serve

CACHE = r"C:\akse-cache"
ARCHIVE = "https://packages.aks.azure.com/containerd/windows/v1.7.20-azure.1/binaries/containerd-v1.7.20-azure.1-windows-amd64.tar.gz"
KUBERNETES = "https://packages.aks.azure.com/kubernetes/v1.31.14/windowszip/v1.31.14-1int.zip"
ORAS = "https://github.com/oras-project/oras/releases/download/v1.3.3/oras_1.3.3_windows_amd64.zip"
PAUSE = "mcr.microsoft.com/oss/v2/kubernetes/pause:3.10.2"
SERVER_CORE = "mcr.microsoft.com/windows/servercore:ltsc2022"


def source(world: World, url: str, folder: str = CACHE) -> dict[str, Any]:
    return {**world.lock(url), "path": rf"{folder}\{url.rpartition('/')[2]}"}


def install_containerd(box: Box) -> dict[str, Any]:
    return box.result("Install-Containerd.ps1", version="v1.7.20-azure.1", archive=source(box.world, ARCHIVE, r"C:\winvhd"))


def pull(box: Box, *references: str) -> dict[str, Any]:
    images = [box.world.image(reference) for reference in references]
    return box.result("Import-ContainerImage.ps1", images=images, parallel=4, attempts=3)


def test_containerd_is_unpacked_configured_and_starts_with_windows(box: Box) -> None:
    outcome = install_containerd(box)
    assert (outcome["changed"], outcome["version"]) == (True, "v1.7.20-azure.1")
    assert box.disk.path(rf"{containerd.FOLDER}\ctr.exe").is_file()
    assert services.service_start(box.disk, "containerd") == services.AUTO
    assert "discard_unpacked_layers = true" in box.disk.path(containerd.CONFIG).read_text()
    box.boot()
    assert install_containerd(box)["changed"] is False
    runtime = take_inventory(box.machine, (), (), ()).runtime
    assert runtime is not None
    assert runtime.version == "v1.7.20-azure.1"


def test_the_configuration_is_the_one_that_the_script_writes() -> None:
    script = (Path(__file__).parents[4] / "infra/guest/scripts/Install-Containerd.ps1").read_text(encoding="utf-8-sig")
    written = script.partition("@'\n")[2].partition("\n'@")[0]
    assert containerd.CONFIG_TEXT.strip() == written.strip()


def test_images_are_recorded_by_tag_repository_digest_and_config(box: Box) -> None:
    install_containerd(box)
    outcome = pull(box, PAUSE, SERVER_CORE)
    assert [image["attempts"] for image in outcome["images"]] == [1, 1]
    inventory = take_inventory(box.machine, (), (), ())
    pause = [image for image in inventory.container_images if image.digest == outcome["images"][0]["digest"]]
    assert [image.name.partition("@")[0].partition("sha256:")[0] for image in pause] == [PAUSE, PAUSE.rpartition(":")[0], ""]
    assert pause[2].name == pause[0].config_digest
    assert pause[0].platforms == (
        "linux/amd64",
        "linux/arm64",
        "windows/amd64/10.0.17763.4252",
        "windows/amd64/10.0.20348.5499",
        "windows/amd64/10.0.26100.33296",
    )
    assert pause[0].size_bytes > 10_000


def test_every_blob_of_the_store_has_its_own_hash_as_name(box: Box) -> None:
    install_containerd(box)
    pull(box, PAUSE)
    blobs = list(box.disk.path(containerd.BLOBS).iterdir())
    assert len(blobs) == 5
    assert all(hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name for blob in blobs)


def test_the_metadata_is_a_bolt_database_with_containerds_buckets(box: Box) -> None:
    install_containerd(box)
    digest = pull(box, PAUSE)["images"][0]["digest"]
    tree: Any = read_database(box.disk.path(containerd.METADATA).read_bytes())
    image = tree[b"v1"][b"k8s.io"][b"images"][PAUSE.encode()]
    assert image[b"target"][b"digest"] == digest.encode()
    assert image[b"labels"] == {b"io.cri-containerd.image": b"managed"}
    assert {b"createdat", b"updatedat"} <= set(image)


def test_what_was_pulled_is_not_pulled_again(box: Box) -> None:
    install_containerd(box)
    pull(box, PAUSE)
    box.boot()
    before = len(box.world.guest_requests())
    outcome = pull(box, PAUSE)
    assert (outcome["changed"], outcome["images"][0]["attempts"]) == (False, 0)
    assert len(box.world.guest_requests()) == before


def test_images_share_their_base_layers(box: Box) -> None:
    install_containerd(box)
    pull(box, SERVER_CORE)
    before = len(list(box.disk.path(containerd.BLOBS).iterdir()))
    pull(box, "mcr.microsoft.com/windows/servercore:10.0.20348.5386")
    # Index, manifest, config and the newer layer differ; the base layer is the same.
    assert len(list(box.disk.path(containerd.BLOBS).iterdir())) == before + 4


@pytest.mark.parametrize(("build", "runs"), [(17763, False), (20348, True), (26100, True)])
def test_a_host_runs_images_of_its_build_and_from_2022_on_older_ones(make_box: Callable[..., Box], build: int, runs: bool) -> None:
    box = make_box(build)
    install_containerd(box)
    outcome = box.run("Import-ContainerImage.ps1", images=[box.world.image(SERVER_CORE)], parallel=1, attempts=1)
    assert (outcome.exit_code == 0) is runs
    if not runs:
        assert outcome.code == "pull-failed"


def test_images_need_a_runtime_and_a_digest_that_their_repository_has(box: Box) -> None:
    right = box.world.image(PAUSE)
    assert box.run("Import-ContainerImage.ps1", images=[right], parallel=1, attempts=1).code == "containerd-missing"
    install_containerd(box)
    gone = right | {"digest": f"sha256:{'0' * 64}"}
    outcome = box.run("Import-ContainerImage.ps1", images=[gone], parallel=1, attempts=2)
    assert outcome.code == "manifest-unknown"
    assert f"{PAUSE.rpartition(':')[0]}@{gone['digest']}" in outcome.last["message"]
    elsewhere = right | {"reference": SERVER_CORE}
    assert box.run("Import-ContainerImage.ps1", images=[right, elsewhere], parallel=2, attempts=3).code == "manifest-unknown"
    assert containerd.images(box.disk) == ()


def test_images_are_pulled_by_digest_and_named_by_a_tag_that_may_point_elsewhere_or_nowhere(box: Box) -> None:
    install_containerd(box)
    newest = box.world.image(SERVER_CORE)
    older = box.world.image("mcr.microsoft.com/windows/servercore:10.0.20348.5386") | {"reference": SERVER_CORE}
    unknown = box.world.image(PAUSE) | {"reference": f"{PAUSE.rpartition(':')[0]}:does-not-exist"}
    assert older["digest"] != newest["digest"]
    seen = len(box.world.guest_requests())
    box.result("Import-ContainerImage.ps1", images=[older, unknown], parallel=2, attempts=1)
    digests = {image.name: image.digest for image in containerd.images(box.disk)}
    assert {name: digests[name] for name in (SERVER_CORE, unknown["reference"])} == {
        SERVER_CORE: older["digest"],
        unknown["reference"]: unknown["digest"],
    }
    assert f"mcr.microsoft.com/windows/servercore@{older['digest']}" in digests
    asked = [record.url for record in box.world.guest_requests()[seen:] if "/manifests/" in record.url]
    assert asked
    assert all("/manifests/sha256:" in url for url in asked)


def test_a_tag_of_another_digest_is_set_anew(box: Box) -> None:
    install_containerd(box)
    older = box.world.image("mcr.microsoft.com/windows/servercore:10.0.20348.5386") | {"reference": SERVER_CORE}
    newest = box.world.image(SERVER_CORE)
    for image in (older, newest):
        outcome = box.result("Import-ContainerImage.ps1", images=[image], parallel=1, attempts=1)
        assert outcome["images"] == [image | {"attempts": 1}]
    digests = {image.name: image.digest for image in containerd.images(box.disk)}
    assert digests[SERVER_CORE] == newest["digest"]


def test_files_are_saved_verified_and_only_once(box: Box) -> None:
    files = [source(box.world, KUBERNETES, rf"{CACHE}\win-k8s"), source(box.world, ORAS)]
    outcome = box.result("Save-CachedFile.ps1", files=files, parallel=4, attempts=2)
    assert outcome["downloaded_bytes"] == sum(file["size_bytes"] for file in files)
    assert [file["path"] for file in outcome["files"]] == [file["path"] for file in files]
    box.disk.path(files[0]["path"]).write_bytes(b"spoiled")
    again = box.result("Save-CachedFile.ps1", files=files, parallel=4, attempts=2)
    assert again["downloaded_bytes"] == files[0]["size_bytes"]
    assert take_inventory(box.machine, [CACHE], (), ()).cached_files[1].sha256 == files[0]["sha256"]


def test_a_wrong_hash_fails_and_leaves_no_file(box: Box) -> None:
    file = source(box.world, KUBERNETES) | {"sha256": "0" * 64}
    assert box.run("Save-CachedFile.ps1", files=[file], parallel=1, attempts=2).code == "hash-mismatch"
    assert not box.disk.path(CACHE).exists()


def test_corrupt_manifests_and_layers_are_pulled_again(tmp_path: Path, make_box: Callable[..., Box]) -> None:
    faults = Faults()
    with serve(create_app(tmp_path / "origin", faults)) as gateway:
        box = make_box(outside=World(gateway, tmp_path / "origin"))
        install_containerd(box)
        image = box.world.image(PAUSE)
        faults.replace(FaultPlan(rules=(FaultRule(point="origin.fetch", key="*/v2/*", fault=Fault(code="corrupt"), times=2),)))
        outcome = box.run("Import-ContainerImage.ps1", images=[image], parallel=1, attempts=3)
        assert outcome.last["images"][0]["attempts"] == 3
        faults.replace(FaultPlan(rules=(FaultRule(point="origin.fetch", key="*/v2/*", fault=Fault(code="corrupt"), times=None),)))
        other = box.world.image(SERVER_CORE)
        # What the script can read from ctr's text is that the pull failed, after all its attempts.
        outcome = box.run("Import-ContainerImage.ps1", images=[other], parallel=1, attempts=2)
        assert (outcome.code, outcome.stderr.count("attempt")) == ("pull-failed", 1)


def test_a_corrupt_download_is_tried_again(tmp_path: Path, make_box: Callable[..., Box]) -> None:
    faults = Faults()
    with serve(create_app(tmp_path / "origin", faults)) as gateway:
        box = make_box(outside=World(gateway, tmp_path / "origin"))
        file = source(box.world, KUBERNETES)
        faults.replace(FaultPlan(rules=(FaultRule(point="origin.fetch", fault=Fault(code="corrupt"), times=2),)))
        outcome = box.run("Save-CachedFile.ps1", files=[file], parallel=1, attempts=3)
        assert outcome.exit_code == 0
        assert outcome.stderr.count("attempt") == 2


@pytest.mark.parametrize(
    ("url", "code"), [("https://nowhere.invalid/a.zip", "download-failed"), ("https://x.com/does-not-exist.zip", "download-refused")]
)
def test_what_can_not_be_fetched_is_a_typed_failure_without_the_urls_query(box: Box, url: str, code: str) -> None:
    file = {"url": f"{url}?sig=secret", "path": r"C:\akse-cache\a.zip", "sha256": "0" * 64, "size_bytes": 1}
    outcome = box.run("Save-CachedFile.ps1", files=[file], parallel=1, attempts=1)
    assert outcome.code == code
    assert "secret" not in outcome.stderr + str(outcome.lines)


def test_a_full_disk_stops_at_once(make_box: Callable[..., Box]) -> None:
    box = make_box(size_gib=30)
    # 512 times 40 MiB is more than the 18 GiB that a fresh disk of 30 GiB has.
    box.disk.write(r"C:\akse-cache\big.bin", b"\0" * (40 * 2**20))
    files = [source(box.world, KUBERNETES, rf"{CACHE}\{number}") for number in range(3)]
    before = len(box.world.guest_requests())
    outcome = box.run("Save-CachedFile.ps1", files=files, parallel=1, attempts=5)
    assert outcome.code == "disk-full"
    assert len(box.world.guest_requests()) == before
    assert not box.disk.path(files[0]["path"]).exists()


def test_the_fault_disk_full_strikes_whatever_writes(box: Box) -> None:
    install_containerd(box)
    image = box.world.image(PAUSE)
    box.strike("guest.stage", "disk-full", times=None)
    assert box.run("Import-ContainerImage.ps1", images=[image], parallel=2, attempts=3).code == "disk-full"
    assert box.run("Save-CachedFile.ps1", files=[source(box.world, ORAS)], parallel=1, attempts=1).code == "disk-full"
    assert box.run("Get-GuestState.ps1").exit_code == 0


def test_tools_are_unpacked_from_verified_archives(box: Box) -> None:
    archive = source(box.world, ORAS, r"C:\aks-tools\oras")
    box.result("Save-CachedFile.ps1", files=[archive], parallel=1, attempts=1)
    tool = {"archive": archive["path"], "destination": r"C:\aks-tools\oras", "sha256": archive["sha256"]}
    outcome = box.result("Install-Tool.ps1", tools=[tool])
    assert outcome["files"] == [r"C:\aks-tools\oras\LICENSE.txt", r"C:\aks-tools\oras\oras.exe"]
    assert box.result("Install-Tool.ps1", tools=[tool])["changed"] is False
    assert box.run("Install-Tool.ps1", tools=[tool | {"sha256": "0" * 64}]).code == "hash-mismatch"
    assert box.run("Install-Tool.ps1", tools=[tool | {"archive": r"C:\none.zip"}]).code == "file-missing"
