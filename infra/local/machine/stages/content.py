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
)
from infra.local.machine import containerd, services
from infra.local.machine.downloads import save_files
from infra.local.machine.image_pull import ImagePuller
from infra.local.machine.stage_run import StageFailureError, StageRun
from infra.local.machine.unpacking import ArchiveError, Unpacked, unpack

_ATTEMPTS = 3
_SERVICE_COMMAND = rf'"{containerd.PROGRAM}" --run-service --config "{containerd.CONFIG}"'


def install_containerd(run: StageRun, wanted: ContainerdInput) -> ContainerdResult:
    """containerd unpacked, configured, and a service that starts with Windows."""
    downloaded = save_files(run, (wanted.archive,), 1, _ATTEMPTS)
    members = _unpack(run, wanted.archive.path)
    changed = downloaded > 0
    for path, content in members:
        # The archive's programs are in bin\; the service expects them in the folder itself.
        changed = _place(run, containerd.FOLDER, path.removeprefix("bin\\"), content) or changed
    version = containerd.program_version(run.disk)
    if not version:
        raise StageFailureError("containerd-failed", f"{wanted.archive.path} holds no containerd.exe that tells its version")
    changed = _place(run, containerd.FOLDER, "config.toml", containerd.CONFIG_TEXT.encode()) or changed
    with run.machine.lock:
        changed = services.set_service(run.disk, "containerd", services.AUTO, image_path=_SERVICE_COMMAND) or changed
        run.disk.path(containerd.ROOT).mkdir(parents=True, exist_ok=True)
    return ContainerdResult(changed=changed, version=version)


def import_container_image(run: StageRun, wanted: PullImageInput) -> PullImageResult:
    """Images pulled into the namespace k8s.io; one that can not be pulled fails the stage."""
    if services.service_start(run.disk, "containerd") is None:
        raise StageFailureError("containerd-missing", "the service containerd is not there: install the container runtime first")
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
        for path, content in _unpack(run, tool.archive):
            changed = _place(run, tool.destination, path, content) or changed
            files.append(rf"{tool.destination.rstrip(chr(92))}\{path}")
    return InstallToolResult(changed=changed, files=tuple(files))


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
