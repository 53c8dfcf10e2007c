"""Stages that bring content, as images.stages.content describes them."""

from __future__ import annotations

import hashlib

from images.inventory import CachedFile
from images.stages.content import (
    ContainerdInput,
    ContainerdResult,
    InstallToolInput,
    InstallToolResult,
    PullImageInput,
    PullImageResult,
    SaveFileInput,
    SaveFileResult,
    SourceFile,
)
from infra.local.machine import containerd, services
from infra.local.machine.downloads import save_files
from infra.local.machine.image_pull import ImagePuller
from infra.local.machine.stage_run import StageFailureError, StageRun
from infra.local.machine.unpacking import ArchiveError, Unpacked, unpack

_ATTEMPTS = 3
_ENVIRONMENT = r"HKLM:\SYSTEM\CurrentControlSet\Control\Session Manager\Environment"
_SYSTEM_PATH = r"%SystemRoot%\system32;%SystemRoot%"
_SERVICE_COMMAND = rf'"{containerd.PROGRAM}" --run-service --config "{containerd.CONFIG}"'


def install_containerd(run: StageRun, wanted: ContainerdInput) -> ContainerdResult:
    """containerd unpacked, configured, and a service that starts with Windows."""
    mark = run.disk.path(containerd.ARCHIVE_MARK)
    changed = not mark.is_file() or mark.read_text(encoding="utf-8") != wanted.archive.sha256
    if changed:
        _install_program(run, wanted.archive)
    changed = _place(run, containerd.FOLDER, "config.toml", containerd.CONFIG_TEXT.encode()) or changed
    with run.machine.lock:
        changed = _add_search_path(run, containerd.FOLDER) or changed
        changed = services.set_service(run.disk, "containerd", services.AUTO, image_path=_SERVICE_COMMAND) or changed
        run.disk.path(containerd.ROOT).mkdir(parents=True, exist_ok=True)
    version = containerd.program_version(run.disk)
    if not version:
        raise StageFailureError("command-missing", f"{wanted.archive.path} holds no containerd.exe that tells its version")
    run.disk.write(containerd.ARCHIVE_MARK, wanted.archive.sha256.encode())
    return ContainerdResult(changed=changed, version=version)


def _install_program(run: StageRun, archive: SourceFile) -> None:
    """Download, verify and unpack; an archive that was not there before does not stay."""
    downloaded = save_files(run, (archive,), 1, _ATTEMPTS)
    for path, content in _unpack(run, archive.path):
        # The archive's programs are in bin\; the service expects them in the folder itself.
        _place(run, containerd.FOLDER, path.removeprefix("bin\\"), content)
    if downloaded:
        run.disk.path(archive.path).unlink()


def _add_search_path(run: StageRun, folder: str) -> bool:
    """Put a folder on the machine's search path; False when it was there."""
    key = run.disk.make_key(_ENVIRONMENT)
    folders = str(key.get("Path", _SYSTEM_PATH)).split(";")
    if folder in folders:
        return False
    key.set("Path", ";".join([*folders, folder]), "REG_EXPAND_SZ")
    return True


def import_container_image(run: StageRun, wanted: PullImageInput) -> PullImageResult:
    """Images pulled into the namespace k8s.io; one that can not be pulled fails the stage."""
    if services.service_start(run.disk, "containerd") is None:
        raise StageFailureError("containerd-missing", "the service containerd is not there: install the container runtime first")
    if services.service_start(run.disk, "containerd") == services.DISABLED:
        reason = "The service cannot be started, either because it is disabled or because it has no enabled devices associated with it."
        raise StageFailureError("containerd-stopped", f"containerd does not start: {reason}")
    run.machine.started_services.add("containerd")
    with run.client() as client:
        pulled, changed = ImagePuller(run, client).pull_all(wanted.images, wanted.parallel, wanted.attempts)
    return PullImageResult(changed=changed, images=pulled)


def save_cached_file(run: StageRun, wanted: SaveFileInput) -> SaveFileResult:
    """Files at their paths, verified; what was there already is not downloaded again."""
    downloaded = save_files(run, wanted.files, wanted.parallel, wanted.attempts)
    return SaveFileResult(
        changed=downloaded > 0,
        files=tuple(CachedFile(path=file.path, sha256=file.sha256, size_bytes=file.size_bytes) for file in wanted.files),
        downloaded_bytes=downloaded,
    )


def install_tool(run: StageRun, wanted: InstallToolInput) -> InstallToolResult:
    """Archives on the guest unpacked into their folders."""
    files: list[str] = []
    changed = False
    for tool in wanted.tools:
        archive = run.disk.path(tool.archive)
        if not archive.is_file():
            raise StageFailureError("file-missing", f"{tool.archive} is not there")
        actual = hashlib.sha256(archive.read_bytes()).hexdigest()
        if actual != tool.sha256:
            raise StageFailureError("hash-mismatch", f"{tool.archive}: expected sha256 {tool.sha256}, got {actual}")
        run.take("guest.tool", tool.archive)
        for path, content in _unpack(run, tool.archive):
            changed = _place(run, tool.destination, path, content) or changed
            files.append(rf"{tool.destination.rstrip(chr(92))}\{path}")
    return InstallToolResult(changed=changed, files=tuple(sorted(set(files))))


def _unpack(run: StageRun, archive_path: str) -> tuple[Unpacked, ...]:
    file = run.disk.path(archive_path)
    try:
        return unpack(file.name, file.read_bytes())
    except ArchiveError as error:
        raise StageFailureError("archive-damaged", str(error)) from error


def _place(run: StageRun, folder: str, path: str, content: bytes) -> bool:
    """Write a file below a folder; False when it was there with this content."""
    run.check_stopped()
    target = rf"{folder.rstrip(chr(92))}\{path}"
    file = run.disk.path(target)
    if file.is_file() and file.read_bytes() == content:
        return False
    run.reserve(len(content))
    run.disk.write(target, content)
    return True
