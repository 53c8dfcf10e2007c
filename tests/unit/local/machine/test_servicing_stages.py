from collections.abc import Callable
from typing import Any

import pytest

from infra.local.machine import cbs, services
from infra.local.machine.inventory import take_inventory
from tests.unit.local.machine.conftest import Box, World

NEWER = "https://catalog.example.com/windows10.0-kb5999001-x64-20348.5600.msu"
NEWEST = "https://catalog.example.com/windows10.0-kb5999002-x64-20348.5700.msu"
OLDER = "https://catalog.example.com/windows10.0-kb5999000-x64-20348.5000.msu"
OTHER_BUILD = "https://catalog.example.com/windows11.0-kb5999003-x64-26100.40000.msu"
NO_PROMISE = "https://catalog.example.com/windows10.0-kb5888001-x64-ndp48.msu"


def update(world: World, url: str, installer: str = "wusa") -> dict[str, Any]:
    name = url.rpartition("/")[2]
    return {"kb": f"KB{name.partition('kb')[2][:7]}", "file_name": name, "installer": installer, **world.lock(url)}


def install(box: Box, *urls: str, promised: str | None = None, installer: str = "wusa") -> dict[str, Any]:
    updates = [update(box.world, url, installer) for url in urls]
    return box.result("Install-WindowsUpdatePackage.ps1", updates=updates, promised_build=promised)


def kbs(box: Box) -> set[str]:
    return {fix.kb for fix in cbs.hotfixes(box.disk)}


def test_a_cumulative_update_counts_after_the_restart(box: Box) -> None:
    outcome = install(box, NEWER, promised="20348.5600")
    assert outcome["updates"] == [{"kb": "KB5999001", "outcome": "installed", "exit_code": 3010}]
    assert outcome["reboot_required"] is True
    assert box.result("Get-GuestState.ps1")["os_build"] == "20348.5499"
    assert box.result("Get-GuestState.ps1")["pending_reboot"] is True
    box.boot()
    state = box.result("Get-GuestState.ps1")
    assert (state["os_build"], state["pending_reboot"]) == ("20348.5600", False)
    # The cumulative update of the base image is superseded by it, the others stay.
    assert kbs(box) == {"KB5999001", "KB5120241", "KB5120705"}


def test_an_installed_update_is_not_downloaded_again(box: Box) -> None:
    install(box, NEWER)
    box.boot()
    before = len(box.world.guest_requests())
    outcome = install(box, NEWER)
    assert outcome["updates"] == [{"kb": "KB5999001", "outcome": "already-installed", "exit_code": 2359302}]
    assert (outcome["changed"], outcome["reboot_required"]) == (False, False)
    assert len(box.world.guest_requests()) == before


def test_updates_are_installed_in_their_order_in_one_go(box: Box) -> None:
    outcome = install(box, NO_PROMISE, NEWER, NEWEST)
    assert [one["outcome"] for one in outcome["updates"]] == ["installed"] * 3
    box.boot()
    assert box.machine.os_build == "20348.5700"
    assert {"KB5888001", "KB5999002"} <= kbs(box)


def test_an_older_update_is_superseded_only_at_the_promised_build(box: Box) -> None:
    outcome = install(box, OLDER, promised="20348.5499")
    assert outcome["updates"] == [{"kb": "KB5999000", "outcome": "superseded", "exit_code": 0x80240017 - 2**32}]
    refused = box.run("Install-WindowsUpdatePackage.ps1", updates=[update(box.world, OLDER)], promised_build="20348.5600")
    assert refused.code == "update-failed"


@pytest.mark.parametrize(("installer", "exit_code"), [("wusa", "0x80240017"), ("dism", "0x800F081E")])
def test_an_update_for_another_build_does_not_apply(box: Box, installer: str, exit_code: str) -> None:
    refused = box.run("Install-WindowsUpdatePackage.ps1", updates=[update(box.world, OTHER_BUILD, installer)], promised_build="20348.5600")
    assert refused.code == "update-failed"
    assert exit_code in refused.last["message"]


def test_updates_need_the_update_service(box: Box) -> None:
    services.set_service(box.disk, "wuauserv", services.DISABLED)
    refused = box.run("Install-WindowsUpdatePackage.ps1", updates=[update(box.world, NEWER)], promised_build=None)
    assert refused.code == "update-failed"
    assert "1058" in refused.last["message"]


def test_a_file_that_is_no_update_fails(box: Box) -> None:
    wrong = {"kb": "KB5999001", "file_name": "x.msu", "installer": "wusa", **box.world.lock("https://example.com/x.zip")}
    assert box.run("Install-WindowsUpdatePackage.ps1", updates=[wrong], promised_build=None).code == "update-failed"


def test_a_file_with_another_hash_is_never_installed(box: Box) -> None:
    wrong = update(box.world, NEWER) | {"sha256": "0" * 64}
    assert box.run("Install-WindowsUpdatePackage.ps1", updates=[wrong], promised_build=None).code == "hash-mismatch"
    assert box.machine.pending_reboot is False


@pytest.mark.parametrize(
    ("script", "stage_input"),
    [
        ("Install-WindowsUpdatePackage.ps1", {"updates": [], "promised_build": None}),
        ("Install-WindowsCapability.ps1", {"capabilities": ["OpenSSH.Server~~~~0.0.1.0"]}),
        ("Install-NodeFeature.ps1", {"features": ["Containers"]}),
        ("Clear-BuildLeftover.ps1", {}),
        ("Invoke-Generalize.ps1", {"sysprep_timeout_s": 1, "build_account": "a", "certificate_thumbprint": "b", "listener_port": 1}),
    ],
)
def test_servicing_refuses_a_network_token(box: Box, script: str, stage_input: dict[str, Any]) -> None:
    refused = box.run(script, elevated=False, **stage_input)
    assert (refused.exit_code, refused.code) == (5, "access-denied")
    assert "0x80070005" in refused.last["message"]
    assert "0x80070005" in refused.stderr


def test_features_that_need_a_restart_are_active_after_it(box: Box) -> None:
    outcome = box.result("Install-NodeFeature.ps1", features=["containers", "Hyper-V", "Hyper-V-PowerShell"])
    assert outcome["installed"] == ["Containers", "Hyper-V", "RSAT", "RSAT-Role-Tools", "RSAT-Hyper-V-Tools", "Hyper-V-PowerShell"]
    assert outcome["reboot_required"] is True
    again = box.result("Install-NodeFeature.ps1", features=["Containers"])
    assert (again["changed"], again["reboot_required"]) == (False, True)
    assert "Hyper-V" not in {feature.name for feature in take_inventory(box.machine, (), (), ()).features}
    assert services.service_start(box.disk, "vmms") is None
    box.boot()
    assert box.machine.network_disturbed is True
    inventory = take_inventory(box.machine, (), (), ())
    depths = {feature.name: feature.depth for feature in inventory.features}
    assert (depths["Hyper-V"], depths["Containers"], depths["Hyper-V-PowerShell"]) == (0, 0, 3)
    assert {"vmms", "hns", "vmcompute"} <= {service.name for service in inventory.services}
    box.boot()
    assert box.machine.network_disturbed is False


def test_an_unknown_feature_is_named_and_nothing_is_installed(box: Box) -> None:
    refused = box.run("Install-NodeFeature.ps1", features=["Containers", "Contaners"])
    assert refused.code == "unknown-feature"
    assert "Contaners" in refused.last["message"]
    assert box.machine.pending_reboot is False


def test_an_unknown_capability_is_named(box: Box) -> None:
    refused = box.run("Install-WindowsCapability.ps1", capabilities=["OpenSSH.Serve~~~~0.0.1.0"])
    assert refused.code == "unknown-capability"


def test_capabilities_come_from_outside(box: Box) -> None:
    box.result("Set-OutboundAccess.ps1", blocked=True)
    assert box.run("Install-WindowsCapability.ps1", capabilities=["OpenSSH.Server~~~~0.0.1.0"]).code == "network-unreachable"


@pytest.mark.parametrize("build", [17763, 26100])
def test_other_releases_install_their_own_updates(make_box: Callable[..., Box], build: int) -> None:
    box = make_box(build)
    url = f"https://catalog.example.com/windows-kb5999010-x64-{build}.65000.msu"
    install(box, url, promised=f"{build}.65000", installer="wusa" if build == 17763 else "dism")
    box.boot()
    assert box.machine.os_build == f"{build}.65000"


def test_superseded_components_go_after_the_restart_and_not_before(box: Box) -> None:
    assert box.result("Clear-ComponentStore.ps1")["changed"] is False
    install(box, NEWER, promised="20348.5600")
    refused = box.run("Clear-ComponentStore.ps1")
    assert refused.exit_code != 0
    assert refused.last["code"] == "command-failed"
    box.boot()
    assert box.result("Clear-ComponentStore.ps1")["changed"] is True
    assert box.result("Clear-ComponentStore.ps1")["changed"] is False
    assert kbs(box) == {"KB5999001", "KB5120241", "KB5120705"}
