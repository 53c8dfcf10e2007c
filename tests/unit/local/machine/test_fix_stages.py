"""Private fixes on a machine: each kind, what Windows says when it can not take one, and nothing that names it."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from images.stages.fix import FIX_RECORD
from infra.guest.powershell_syntax import SCRIPTS_FOLDER
from infra.local.contracts import OsProfile
from infra.local.machine import cbs
from infra.local.machine.boot_options import is_test_signing
from infra.local.machine.sysprep import specialize
from infra.local.origin.private_fixes import fix_body, fix_url
from infra.local.origin.windows_components import COMPONENT, read_component
from tests.unit.fetch.serving import Answer, serving
from tests.unit.local.machine.conftest import Box, Outcome

NEWER = "20348.5510"
MARK = r"HKLM:\SOFTWARE\winvhd"


def sha256_of(path: str) -> str:
    body = fix_body(path)
    assert body is not None
    return hashlib.sha256(body).hexdigest()


def request(path: str, **changes: Any) -> dict[str, Any]:
    kind = path.rpartition(".")[2]
    installer = {"msu": "wusa", "cab": "dism"}.get(kind, "none")
    arguments = ["/quiet", "/norestart"] if kind == "exe" else []
    return {"kind": kind, "url": fix_url(path), "sha256": sha256_of(path), "installer": installer, "arguments": arguments, **changes}


def install(box: Box, path: str, **changes: Any) -> dict[str, Any]:
    return box.result("Install-PrivateFix.ps1", **request(path, **changes))


def confirm(box: Box, path: str) -> Outcome:
    return box.run("Confirm-PrivateFix.ps1", kind=path.rpartition(".")[2], sha256=sha256_of(path))


def look(box: Box, path: str) -> dict[str, Any]:
    """What Test-PrivateFix.ps1 finds, without the fields that every stage has."""
    answer = box.result("Test-PrivateFix.ps1", sha256=sha256_of(path))
    assert (answer["changed"], answer["reboot_required"]) == (False, False)
    return {name: value for name, value in answer.items() if name not in ("event", "changed", "reboot_required")}


def found(**changes: Any) -> dict[str, Any]:
    nothing = {"files": 0, "files_in_place": 0, "packages": 0, "packages_installed": 0}
    return {"recorded": True, **nothing, "test_signing": False, **changes}


def become_a_new_machine(box: Box) -> None:
    """Generalize, and start as a machine that is made from the image."""
    box.result("Invoke-Generalize.ps1", sysprep_timeout_s=1, build_account="winvhd-1", certificate_thumbprint="AA", listener_port=5986)
    specialize(box.disk, OsProfile("tested", "azureuser", "Secret-2"), datetime.now(UTC))
    box.boot()


def failed_checks(box: Box) -> dict[str, str]:
    checks = box.result("Test-PodNetworking.ps1", subnet="10.244.250.0/24")["checks"]
    return {check["name"]: check["error"] for check in checks if not check["passed"]}


@pytest.fixture
def node(box: Box) -> Box:
    box.result("Install-NodeFeature.ps1", features=["Containers"])
    box.boot()
    return box


def test_the_base_has_the_defect_that_the_suite_finds(node: Box) -> None:
    failed = failed_checks(node)
    assert failed["the endpoint has an address"] == "10.244.250.10 did not come up within 30 s"
    assert failed["names resolve"] == "not reached: the endpoint has an address failed"
    assert len(failed) == 2


@pytest.mark.parametrize("kind", ["msu", "cab", "exe", "zip"])
def test_each_kind_of_fix_counts_after_the_restart(node: Box, kind: str) -> None:
    path = f"{NEWER}/fixed.{kind}"
    before = node.disk.path(COMPONENT).read_bytes()
    outcome = install(node, path)
    assert outcome["changed"] is True
    assert outcome["exit_code"] == (0 if kind == "zip" else 3010)
    assert outcome["already_present"] is (None if kind == "exe" else False)
    assert node.disk.path(COMPONENT).read_bytes() == before
    node.boot()
    confirmed = confirm(node, path).last
    assert confirmed["event"] == "result"
    assert confirmed["verified_files"] == (1 if kind == "zip" else 0)
    assert confirmed["new_packages"] == (1 if kind in ("msu", "cab") else 0)
    component = read_component(node.disk.path(COMPONENT).read_bytes())
    assert component is not None
    assert component.version == f"10.0.{NEWER}"
    assert failed_checks(node) == {}


def test_a_zip_turns_test_signing_on_and_the_others_do_not(node: Box) -> None:
    install(node, f"{NEWER}/fixed.msu")
    node.boot()
    assert not is_test_signing(node.disk)
    install(node, f"{NEWER}/fixed.zip")
    assert not is_test_signing(node.disk)
    node.boot()
    assert confirm(node, f"{NEWER}/fixed.zip").last["test_signing"] is True


def test_a_test_signed_file_does_not_load_without_test_signing(node: Box) -> None:
    install(node, f"{NEWER}/fixed.zip")
    node.boot()
    node.disk.path(r"C:\Boot\BCD").unlink()
    node.boot()
    assert confirm(node, f"{NEWER}/fixed.zip").code == "test-signing-refused"
    assert "digital signature" in failed_checks(node)["a network is made"]


def test_nothing_of_the_fix_is_left_under_the_build_folder(node: Box) -> None:
    for kind in ("msu", "zip"):
        install(node, f"{NEWER}/fixed.{kind}")
        node.boot()
        confirm(node, f"{NEWER}/fixed.{kind}")
    folder = node.disk.path(r"C:\winvhd")
    assert [file.name for file in folder.rglob("*")] == []


@pytest.mark.parametrize(
    ("path", "exit_code"),
    [("20348.5499/fixed.msu", 0x80240017 - 2**32), ("20348.5000/fixed.cab", 0x800F081E - 2**32), ("20348.5499/contained.zip", 0)],
)
def test_a_fix_that_the_base_contains_is_success_and_said(node: Box, path: str, exit_code: int) -> None:
    outcome = install(node, path)
    assert (outcome["already_present"], outcome["changed"], outcome["exit_code"]) == (True, False, exit_code)
    assert node.disk.make_key(MARK).get("FixPresentBefore") == 1
    node.boot()
    assert confirm(node, path).exit_code == 0


def test_a_fix_that_was_installed_before_is_there_the_second_time(node: Box) -> None:
    path = f"{NEWER}/fixed.msu"
    install(node, path)
    node.boot()
    confirm(node, path)
    again = install(node, path)
    assert (again["already_present"], again["exit_code"]) == (True, 2359302)


@pytest.mark.parametrize("kind", ["msu", "cab", "zip"])
def test_a_second_run_before_the_restart_remembers_the_first(node: Box, kind: str) -> None:
    path = f"{NEWER}/fixed.{kind}"
    install(node, path)
    assert install(node, path)["already_present"] is False
    node.boot()
    confirmed = confirm(node, path).last
    assert (confirmed["verified_files"], confirmed["new_packages"]) == ((1, 0) if kind == "zip" else (0, 1))


def test_an_exe_cannot_tell_whether_it_was_there(node: Box) -> None:
    install(node, f"{NEWER}/fixed.exe")
    assert node.disk.make_key(MARK).get("FixPresentBefore") is None


@pytest.mark.parametrize(
    ("path", "changes", "code", "words"),
    [
        (f"{NEWER}/installer-fails.msu", {}, "fix-failed", "0x800F0922"),
        (f"{NEWER}/installer-fails.exe", {}, "fix-failed", "0x800F0922"),
        ("26100.40000/fixed.msu", {}, "wrong-windows", "0x80240017"),
        ("26100.40000/fixed.cab", {}, "wrong-windows", "0x800F081E"),
        (f"{NEWER}/fixed.exe", {"arguments": []}, "fix-failed", "exit code 87"),
        (f"{NEWER}/fixed.msu", {"sha256": "0" * 64}, "hash-mismatch", "sha256"),
        (f"{NEWER}/fixed.msu", {"kind": "exe"}, "fix-failed", "not of the kind"),
        (f"{NEWER}/fixed.msu", {"kind": "zip"}, "bad-fix", "damaged"),
    ],
)
def test_a_fix_that_cannot_be_installed_says_why_and_not_which(
    node: Box, path: str, changes: dict[str, Any], code: str, words: str
) -> None:
    refused = node.run("Install-PrivateFix.ps1", **request(path, **changes))
    assert refused.code == code
    assert words in refused.last["message"]
    said = f"{refused.lines}{refused.stderr}"
    for secret in ("privatefixes", path, path.rpartition("/")[2], "sig="):
        assert secret not in said


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: fix_url(path, expires=datetime.now(UTC) - timedelta(minutes=1)),
        lambda path: fix_url(path).replace("sig=", "sig=A"),
        lambda path: fix_url(path).partition("?")[0],
    ],
    ids=["expired", "forged", "without a SAS"],
)
def test_an_address_that_opens_nothing_is_refused_without_being_shown(node: Box, spoil: Callable[[str], str]) -> None:
    path = f"{NEWER}/fixed.msu"
    refused = node.run("Install-PrivateFix.ps1", **request(path, url=spoil(path)))
    assert refused.code == "download-refused"
    assert "expired" in refused.last["message"]
    said = f"{refused.lines}{refused.stderr}"
    for secret in ("privatefixes", "fixed.msu", "sig", "se="):
        assert secret not in said


def test_a_fix_that_servicing_undoes_is_noticed_after_the_restart(node: Box) -> None:
    path = f"{NEWER}/rolled-back.msu"
    assert install(node, path)["already_present"] is False
    node.boot()
    assert confirm(node, path).code == "fix-rolled-back"
    assert "0x800f0922" in node.disk.path(r"C:\Windows\Logs\CBS\CBS.log").read_text(encoding="utf-8")
    assert cbs.packages_in(node.disk, cbs.INSTALL_PENDING) == ()
    assert "the endpoint has an address" in failed_checks(node)


def test_files_that_the_restart_did_not_replace_are_noticed(node: Box) -> None:
    path = f"{NEWER}/fixed.zip"
    install(node, path)
    assert confirm(node, path).code == "fix-not-in-place"


@pytest.mark.parametrize(
    "member", ["winvhd/x.ps1", "./winvhd/x.ps1", "WinVhd. /x.ps1", "a/../winvhd/x.ps1", "winvhd", "PROGRAMDATA./winvhd/x"]
)
def test_a_zip_does_not_reach_into_a_folder_of_the_build(box: Box, member: str) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(member, b"x")
    body = packed.getvalue()
    with serving() as storage:
        url = storage.on("/fix.zip", Answer(body))
        fix: dict[str, Any] = {"kind": "zip", "url": url, "sha256": hashlib.sha256(body).hexdigest(), "installer": "none", "arguments": []}
        assert box.run("Install-PrivateFix.ps1", **fix).code == "bad-fix"
    assert not is_test_signing(box.disk)


@pytest.mark.parametrize(
    ("kind", "left"),
    [
        ("zip", {"files": 1, "files_in_place": 1, "test_signing": True}),
        ("msu", {"packages": 1, "packages_installed": 1}),
        ("cab", {"packages": 1, "packages_installed": 1}),
    ],
)
def test_what_a_fix_changed_is_found_again_on_a_machine_of_its_image(node: Box, kind: str, left: dict[str, Any]) -> None:
    path = f"{NEWER}/fixed.{kind}"
    install(node, path)
    node.boot()
    confirm(node, path)
    become_a_new_machine(node)
    assert look(node, path) == found(**left)
    assert node.result("Test-FirstBoot.ps1")["leftovers"] == []


@pytest.mark.parametrize(
    ("code", "left"),
    [
        ("testsigning-lost", {"files": 1, "files_in_place": 1, "test_signing": False}),
        ("file-reverted", {"files": 1, "files_in_place": 0, "test_signing": True}),
    ],
)
def test_what_generalize_undoes_of_a_fix_is_noticed(node: Box, code: str, left: dict[str, Any]) -> None:
    path = f"{NEWER}/fixed.zip"
    install(node, path)
    node.boot()
    assert confirm(node, path).exit_code == 0
    node.strike("guest.sysprep", code)
    become_a_new_machine(node)
    assert look(node, path) == found(**left)
    assert failed_checks(node) != {}


def test_a_package_that_is_gone_is_noticed(node: Box) -> None:
    path = f"{NEWER}/fixed.msu"
    before = set(cbs.packages_in(node.disk, cbs.INSTALLED))
    install(node, path)
    node.boot()
    confirm(node, path)
    (identity,) = set(cbs.packages_in(node.disk, cbs.INSTALLED)) - before
    cbs.remove_package(node.disk, identity)
    assert look(node, path) == found(packages=1)


@pytest.mark.parametrize("kind", ["msu", "zip"])
def test_of_a_fix_that_the_base_contains_what_is_there_is_found(node: Box, kind: str) -> None:
    path = f"20348.5499/{'contained' if kind == 'zip' else 'fixed'}.{kind}"
    install(node, path)
    node.boot()
    confirm(node, path)
    assert look(node, path) == found(**({"files": 1, "files_in_place": 1, "test_signing": True} if kind == "zip" else {}))


def test_a_record_that_is_lost_spoilt_or_of_another_fix_says_nothing(node: Box) -> None:
    path = f"{NEWER}/fixed.msu"
    assert look(node, path) == found(recorded=False)
    install(node, path)
    node.boot()
    confirm(node, path)
    assert look(node, f"{NEWER}/fixed.cab") == found(recorded=False)
    node.disk.write(FIX_RECORD, b'{"sha256": ')
    assert look(node, path) == found(recorded=False)


def test_an_exe_leaves_no_record_since_nobody_knows_what_it_changed(node: Box) -> None:
    path = f"{NEWER}/fixed.exe"
    install(node, path)
    node.boot()
    confirm(node, path)
    assert not node.disk.path(FIX_RECORD).exists()


def test_what_is_found_of_a_fix_names_neither_file_nor_package(node: Box) -> None:
    for kind in ("msu", "zip"):
        path = f"{NEWER}/fixed.{kind}"
        install(node, path)
        node.boot()
        confirm(node, path)
        record = node.disk.path(FIX_RECORD).read_text(encoding="utf-8")
        outcome = node.run("Test-PrivateFix.ps1", sha256=sha256_of(path))
        said = f"{outcome.lines}{outcome.stderr}"
        for name in ("vfpext", "Package_for"):
            assert name not in said
        assert ("vfpext" if kind == "zip" else "Package_for") in record


@pytest.mark.parametrize("script", ["Confirm-PrivateFix.ps1", "Test-PrivateFix.ps1"])
def test_the_scripts_agree_on_where_the_record_is(script: str) -> None:
    assert f"$script:Record = '{FIX_RECORD}'" in (SCRIPTS_FOLDER / script).read_text(encoding="utf-8")


def test_a_guest_without_the_fix_confirms_nothing(node: Box) -> None:
    assert confirm(node, f"{NEWER}/fixed.msu").code == "fix-unknown"


def test_a_regression_breaks_what_worked(node: Box) -> None:
    path = f"{NEWER}/regression.cab"
    install(node, path)
    node.boot()
    assert next(iter(failed_checks(node))) == "its gateway has an address"


def test_a_later_cumulative_update_brings_its_own_component(node: Box) -> None:
    url = "https://catalog.example.com/windows10.0-kb5999002-x64-20348.5700.msu"
    update = {"kb": "KB5999002", "file_name": "a.msu", "installer": "wusa", **node.world.lock(url)}
    node.result("Install-WindowsUpdatePackage.ps1", updates=[update], promised_build="20348.5700")
    node.boot()
    assert failed_checks(node) == {}


def test_networking_needs_the_containers_feature(box: Box) -> None:
    assert "hns" in failed_checks(box)["the host network service runs"]


def test_the_request_log_names_no_private_fix(node: Box) -> None:
    install(node, f"{NEWER}/fixed.cab")
    urls = {record.url for record in node.world.guest_requests() if "privatefixes" in record.url}
    assert urls == {"https://privatefixes.example.com/"}
