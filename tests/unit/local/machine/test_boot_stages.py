import os
from typing import Any

from infra.local.machine.accounts import set_account
from infra.local.machine.scheduled_tasks import register_task
from tests.unit.local.machine.conftest import Box, World

CACHE = r"C:\akse-cache"
KUBERNETES = "https://packages.aks.azure.com/kubernetes/v1.31.14/windowszip/v1.31.14-1int.zip"
CONTAINERD = "https://packages.aks.azure.com/containerd/windows/v1.7.20-azure.1/binaries/containerd-v1.7.20-azure.1-windows-amd64.tar.gz"


def bootstrap(world: World) -> dict[str, Any]:
    files = [{"name": url.rpartition("/")[2], **world.lock(url)} for url in (KUBERNETES, CONTAINERD)]
    versions = [{"kubernetes_version": "1.31.14", "files": files}]
    return {"versions": versions, "cache_root": CACHE, "work_folder": r"C:\k"}


def fill_cache(box: Box) -> None:
    files = [{**box.world.lock(url), "path": rf"{CACHE}\deep\down\{url.rpartition('/')[2]}"} for url in (KUBERNETES, CONTAINERD)]
    box.result("Save-CachedFile.ps1", files=files, parallel=2, attempts=2)


def test_a_full_cache_needs_no_network(box: Box) -> None:
    fill_cache(box)
    box.result("Set-OutboundAccess.ps1", blocked=True)
    before = len(box.world.guest_requests())
    result = box.result("Test-NodeBootstrap.ps1", **bootstrap(box.world))
    assert result["downloads"] == 0
    assert [(file["source"], file["verified"], file["unpacked_files"]) for file in result["files"]] == [
        ("cache", True, 5),
        ("cache", True, 3),
    ]
    assert box.disk.path(r"C:\k\1.31.14\v1.31.14-1int.zip\unpacked\k\kubelet.exe").is_file()
    assert len(box.world.guest_requests()) == before


def test_a_plain_image_downloads_and_the_origin_saw_it(box: Box) -> None:
    before = len(box.world.guest_requests())
    result = box.result("Test-NodeBootstrap.ps1", **bootstrap(box.world))
    assert (result["downloads"], {file["verified"] for file in result["files"]}) == (2, {True})
    requests = box.world.guest_requests()[before:]
    assert [request.url for request in requests] == [KUBERNETES, CONTAINERD]
    assert {request.client for request in requests} == {"winvhd-guest/vms/box"}


def test_one_cached_file_taken_away_is_missing_without_a_network(box: Box) -> None:
    fill_cache(box)
    box.machine.outbound_allowed = False
    box.disk.path(rf"{CACHE}\deep\down\v1.31.14-1int.zip").unlink()
    result = box.result("Test-NodeBootstrap.ps1", **bootstrap(box.world))
    assert [file["source"] for file in result["files"]] == ["missing", "cache"]
    assert "blocked" in result["files"][0]["error"]


def test_a_spoiled_cached_file_is_downloaded_instead(box: Box) -> None:
    fill_cache(box)
    box.disk.write(rf"{CACHE}\deep\down\v1.31.14-1int.zip", b"spoiled")
    result = box.result("Test-NodeBootstrap.ps1", **bootstrap(box.world))
    assert (result["downloads"], [file["source"] for file in result["files"]]) == (1, ["download", "cache"])


def test_files_of_the_build_that_are_older_than_the_installation_are_leftovers(box: Box) -> None:
    old = box.disk.write(r"C:\winvhd\Get-GuestState.ps1", b"#")
    assert box.result("Test-FirstBoot.ps1")["leftovers"] == []
    os.utime(old, (1_600_000_000, 1_600_000_000))
    assert box.result("Test-FirstBoot.ps1")["leftovers"] == [r"file C:\winvhd\Get-GuestState.ps1"]


def test_leftovers_of_the_build_are_found_and_the_tests_own_way_in_is_not_counted(box: Box) -> None:
    set_account(box.disk, "winvhd-own", "Secret-4")
    register_task(box.disk, r"\winvhd-own-run", "powershell.exe", "")
    assert box.result("Test-FirstBoot.ps1", run_id="own-run")["leftovers"] == []
    set_account(box.disk, "winvhd-old", "Secret-5")
    register_task(box.disk, r"\winvhd-old-run", "powershell.exe", "")
    leftovers = box.result("Test-FirstBoot.ps1", run_id="own-run")["leftovers"]
    assert leftovers == ["account winvhd-own", r"task \winvhd-old-run"]
