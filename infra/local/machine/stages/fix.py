"""Stages of a private fix, as images.stages.fix describes them.

Exit codes as in the update stage; 0x800f0922 is CBS_E_INSTALLERS_FAILED.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from collections.abc import Callable
from typing import Any

from images.privacy import MARK_KEY, PRESENT_VALUE
from images.private_fix import FixKind
from images.stages.fix import (
    FIX_RECORD,
    ConfirmFixInput,
    ConfirmFixResult,
    FixTestInput,
    FixTestResult,
    InstallFixInput,
    InstallFixResult,
)
from images.stages.link import GUEST_FOLDER
from infra.local.machine import cbs, services
from infra.local.machine.boot_options import is_test_signing, set_test_signing
from infra.local.machine.component_store import stage_files
from infra.local.machine.downloads import with_attempts
from infra.local.machine.pending_renames import add_pending_renames
from infra.local.machine.stage_run import StageFailureError, StageRun
from infra.local.machine.stages.servicing import ALREADY_INSTALLED, NOT_APPLICABLE, REBOOT_NEEDED, SERVICE_DISABLED
from infra.local.machine.unpacking import ArchiveError, unpack
from infra.local.origin.private_fixes import PROGRAM_MAGIC, UPDATE_MAGIC

_ATTEMPTS = 3
_REASONS = {
    "download-refused": "the storage refuses to give the fix: its URL has expired, was revoked or does not allow reading",
    "hash-mismatch": "the file behind the URL does not have the sha256 that was promised",
    "disk-full": "there is not enough space on the disk for the fix",
}
_QUIET = "/quiet"
_INVALID_PARAMETER = 87
_IN_SERVICING = (cbs.INSTALL_PENDING, cbs.INSTALLED)


def install_private_fix(run: StageRun, wanted: InstallFixInput) -> InstallFixResult:
    """Download, verify and install; what Confirm-PrivateFix.ps1 must know stays in a file beside the scripts."""
    stem = _stem(wanted.sha256)
    record = run.disk.path(f"{stem}.json")
    before = json.loads(record.read_text(encoding="utf-8"))["packages"] if record.exists() else list(_packages(run, _IN_SERVICING))
    run.progress("downloading", 0, 2)
    body = _download(run, wanted)
    run.progress("installing", 1, 2)
    with run.machine.lock:
        present: bool | None
        files: list[dict[str, Any]] = []
        match wanted.kind:
            case FixKind.ZIP:
                files = _replace(run, body, stem)
                exit_code, present = 0, all(file["same"] for file in files)
            case FixKind.EXE:
                exit_code, present = _run_program(run, body, wanted.arguments), None
            case _:
                exit_code, contained = _install_package(run, body, wanted.installer)
                # What an earlier run of this stage brought was not there before.
                present = contained or set(_packages(run, _IN_SERVICING)) <= set(before)
        run.disk.write(f"{stem}.json", json.dumps({"packages": before, "files": files, "present": present}).encode())
        if present is not None:
            run.disk.make_key(MARK_KEY).set(PRESENT_VALUE, int(present))
    return InstallFixResult(
        changed=present is not True,
        reboot_required=present is not True,
        exit_code=exit_code,
        already_present=present,
        replaced_files=sum(not file["same"] for file in files),
    )


def confirm_private_fix(run: StageRun, wanted: ConfirmFixInput) -> ConfirmFixResult:
    """What the restart made of the fix; writes that down in the image, and removes what its installation left."""
    stem = _stem(wanted.sha256)
    record = run.disk.path(f"{stem}.json")
    if not record.exists():
        raise StageFailureError("fix-unknown", "nothing on this guest says that the fix was installed")
    known = json.loads(record.read_text(encoding="utf-8"))
    new = [identity for identity in _packages(run, (cbs.INSTALLED,)) if identity not in known["packages"]]
    if wanted.kind in (FixKind.MSU, FixKind.CAB) and not known["present"] and not new:
        raise StageFailureError("fix-rolled-back", "Windows undid the fix while it started; CBS.log says why, often 0x800f0922")
    files = known["files"]
    verified = sum(_sha256_of(run, file["path"]) == file["sha256"] for file in files)
    if verified != len(files):
        raise StageFailureError("fix-not-in-place", f"{len(files) - verified} of {len(files)} files were not replaced by the restart")
    test_signing = is_test_signing(run.disk)
    if wanted.kind is FixKind.ZIP and not test_signing:
        raise StageFailureError("test-signing-refused", "Windows started without test signing")
    if wanted.kind is not FixKind.EXE:
        changes = {"files": [{"path": file["path"], "sha256": file["sha256"]} for file in files], "packages": new}
        run.disk.write(FIX_RECORD, json.dumps({"sha256": wanted.sha256, **changes}).encode())
    record.unlink()
    shutil.rmtree(run.disk.path(stem), ignore_errors=True)
    return ConfirmFixResult(changed=True, verified_files=verified, new_packages=len(new), test_signing=test_signing)


def test_private_fix(run: StageRun, wanted: FixTestInput) -> FixTestResult:
    """What is still there of what the record of the fix says."""
    record = _read_record(run, wanted.sha256)
    files, packages = (record["files"], record["packages"]) if record is not None else ([], [])
    installed = _packages(run, (cbs.INSTALLED,))
    return FixTestResult(
        changed=False,
        recorded=record is not None,
        files=len(files),
        files_in_place=sum(_sha256_of(run, file["path"]) == file["sha256"] for file in files),
        packages=len(packages),
        packages_installed=sum(identity in installed for identity in packages),
        test_signing=is_test_signing(run.disk),
    )


def _read_record(run: StageRun, sha256: str) -> dict[str, Any] | None:
    """The record of this fix; None when there is none that can be read."""
    file = run.disk.path(FIX_RECORD)
    try:
        record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return record if record.get("sha256") == sha256 else None


def _stem(sha256: str) -> str:
    return rf"{GUEST_FOLDER}\fix-{sha256[:12]}"


def _packages(run: StageRun, states: tuple[int, ...]) -> tuple[str, ...]:
    return tuple(identity for state in states for identity in cbs.packages_in(run.disk, state))


def _download(run: StageRun, wanted: InstallFixInput) -> bytes:
    """The verified bytes; what fails is told without the address."""

    def get() -> bytes:
        content = run.fetch(client, wanted.url).content
        if hashlib.sha256(content).hexdigest() != wanted.sha256:
            raise StageFailureError("hash-mismatch", "")
        return content

    try:
        with run.client() as client:
            body, _ = with_attempts(run, _ATTEMPTS, lambda: _without_address(get))
        run.reserve(len(body))
    except StageFailureError as error:
        raise StageFailureError(error.code, _REASONS.get(error.code, "the fix can not be downloaded")) from None
    return body


def _without_address(get: Callable[[], bytes]) -> bytes:
    try:
        return get()
    except StageFailureError as error:
        raise StageFailureError(error.code, "the fix") from None


def _replace(run: StageRun, body: bytes, stem: str) -> list[dict[str, Any]]:
    """Unpack, and let the restart put the files in place, with test signing on."""
    try:
        members = unpack("fix.zip", body)
    except ArchiveError:
        raise StageFailureError("bad-fix", "a path in the .zip leads out of C:, or the .zip is damaged") from None
    if not members or any(_is_of_the_build(path) for path, _ in members):
        raise StageFailureError("bad-fix", "the .zip holds no file, or one for a folder of this build")
    files: list[dict[str, Any]] = []
    for path, content in members:
        target, source = rf"C:\{path}", rf"{stem}\{path}"
        sha256 = hashlib.sha256(content).hexdigest()
        run.disk.write(source, content)
        files.append({"source": source, "path": target, "sha256": sha256, "same": _sha256_of(run, target) == sha256})
    set_test_signing(run.disk)
    add_pending_renames(run.disk, [(file["source"], file["path"]) for file in files if not file["same"]])
    return files


def _is_of_the_build(path: str) -> bool:
    # Windows takes no notice of dots and spaces at the end of a name.
    parts = [part.rstrip(". ").lower() for part in path.split("\\")]
    return parts[:1] == ["winvhd"] or parts[:2] == ["programdata", "winvhd"]


def _sha256_of(run: StageRun, path: str) -> str | None:
    file = run.disk.path(path)
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else None


def _install_package(run: StageRun, body: bytes, installer: str) -> tuple[int, bool]:
    """(exit code, whether Windows is at its revision already) of wusa or DISM."""
    if services.service_start(run.disk, "wuauserv") == services.DISABLED and installer == "wusa":
        raise StageFailureError("fix-failed", f"exit code {SERVICE_DISABLED} (0x{SERVICE_DISABLED:08X}): the service wuauserv is disabled")
    about = _about(body, UPDATE_MAGIC)
    refused = NOT_APPLICABLE[installer]
    if about["build"] != run.machine.build:
        raise StageFailureError("wrong-windows", f"exit code 0x{refused % 2**32:08X}: the fix is not for this Windows")
    if about["ubr"] <= run.machine.ubr:
        return refused, True
    identity = f"Package_for_{about['kb']}~31bf3856ad364e35~amd64~~{about['build']}.{about['ubr']}.1.1"
    if cbs.package_state(run.disk, identity) is not None:
        return (ALREADY_INSTALLED if installer == "wusa" else 0), False
    if about["fails_with"]:
        raise StageFailureError(
            "fix-failed",
            f"exit code {about['fails_with'] - 2**32} (0x{about['fails_with']:08X}): an installer of the package failed, "
            "often for lack of space in the system partition",
        )
    link = run.machine.product.kb_link.format(number=about["kb"].removeprefix("KB"))
    cbs.add_update(run.disk, identity, cbs.HotFix(about["kb"], "Hotfix", link), cbs.INSTALL_PENDING)
    cbs.set_reboot_pending(run.disk)
    stage_files(run.disk, identity, _files(about), rolls_back=about["rolls_back"])
    return REBOOT_NEEDED, False


def _run_program(run: StageRun, body: bytes, arguments: tuple[str, ...]) -> int:
    """The exit code of a self-installing program, which brings its files with the restart."""
    about = _about(body, PROGRAM_MAGIC)
    exit_code = about["fails_with"] or (0 if _QUIET in [argument.lower() for argument in arguments] else _INVALID_PARAMETER)
    if exit_code:
        shown = exit_code - 2**32 if exit_code >= 2**31 else exit_code
        raise StageFailureError("fix-failed", f"the program ended with exit code {shown} (0x{exit_code:08X})")
    if about["build"] == run.machine.build:
        moves = []
        for number, (path, content) in enumerate(_files(about).items()):
            source = rf"C:\Windows\Temp\{number}.new"
            run.disk.write(source, content)
            moves.append((source, path))
        add_pending_renames(run.disk, moves)
    return REBOOT_NEEDED


def _about(body: bytes, magic: bytes) -> dict[str, Any]:
    if not body.startswith(magic):
        raise StageFailureError("fix-failed", "exit code -2147023504 (0x80070570): the file is not of the kind that was promised")
    about: dict[str, Any] = json.loads(body[len(magic) :].split(b"\n", 1)[0])
    return about


def _files(about: dict[str, Any]) -> dict[str, bytes]:
    return {path: base64.b64decode(content) for path, content in about["files"].items()}
