"""Stages that bring content: container runtime, container images, cached files, tools."""

from __future__ import annotations

from pydantic import Field

from images.frozen import Frozen
from images.inventory import CachedFile
from images.stages.contract import StageContract, StageInput, StageResult


class SourceFile(Frozen):
    """A file to download: url is a short-lived read SAS when the script gets it, path the full path on the guest."""

    url: str
    path: str
    sha256: str
    size_bytes: int


class ContainerdInput(StageInput):
    version: str
    archive: SourceFile


class ContainerdResult(StageResult):
    version: str = Field(description="What `containerd.exe --version` says.")


class ImageToPull(Frozen):
    """A container image: the tag that it gets on the image, and the digest that is pulled, wherever the tag points in its registry now."""

    reference: str
    digest: str
    blobs: dict[str, str] = Field(
        default_factory=dict, description="Read SAS by sha256 of config and layers; an empty one means that the registry must have it."
    )


class PullImageInput(StageInput):
    images: tuple[ImageToPull, ...]
    parallel: int = Field(description="Pulls at the same time.")
    attempts: int = Field(description="Tries for each image; a full disk is never tried again.")


class PulledImage(Frozen):
    reference: str
    digest: str
    attempts: int


class PullImageResult(StageResult):
    images: tuple[PulledImage, ...]


class SaveFileInput(StageInput):
    files: tuple[SourceFile, ...]
    parallel: int
    attempts: int


class SaveFileResult(StageResult):
    files: tuple[CachedFile, ...]
    downloaded_bytes: int = Field(description="0 when every file was there already, verified.")


class ToolArchive(Frozen):
    """An archive that is on the guest already and the folder it is unpacked into."""

    archive: str
    destination: str
    sha256: str


class InstallToolInput(StageInput):
    tools: tuple[ToolArchive, ...]


class InstallToolResult(StageResult):
    files: tuple[str, ...] = Field(description="Full paths of what was unpacked.")


INSTALL_CONTAINERD = StageContract(
    "install-containerd", "Install-Containerd.ps1", ContainerdInput, ContainerdResult, timeout_s=1800, title="containerd"
)
PULL_IMAGES = StageContract(
    "import-container-image",
    "Import-ContainerImage.ps1",
    PullImageInput,
    PullImageResult,
    elevated=True,
    timeout_s=3 * 3600,
    title="Container images",
)
SAVE_FILES = StageContract(
    "save-cached-file", "Save-CachedFile.ps1", SaveFileInput, SaveFileResult, elevated=True, timeout_s=3600, title="Cached files"
)
INSTALL_TOOLS = StageContract("install-tool", "Install-Tool.ps1", InstallToolInput, InstallToolResult, title="Tools")

CONTENT_STAGES = (INSTALL_CONTAINERD, PULL_IMAGES, SAVE_FILES, INSTALL_TOOLS)
