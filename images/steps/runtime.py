"""The `runtime` and `images` layers: containerd, registry settings, container images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from images.definition import ImageDefinition
from images.fingerprint import CACHE_SCHEME
from images.lock import ImageLock, LockedContainerImage
from images.stages.content import INSTALL_CONTAINERD, PULL_IMAGES, ContainerdInput, ImageToPull, PullImageInput
from images.stages.system import SET_REGISTRY, SET_WINRM_START, RegistryInput, WinRmStartModeInput
from images.steps.sources import runtime_archive_path, source_file
from images.steps.step import Step

# More pulls at once only compete for the VM's disk: unpacking Windows layers is what takes the time.
PARALLEL_PULLS: Final = 6
PULL_ATTEMPTS: Final = 5


def runtime_steps(definition: ImageDefinition, lock: ImageLock) -> Iterator[Step]:
    """The steps of the `runtime` layer; registry values of HNS and feature overrides take effect at the next boot.

    WinRM starts with Windows again: Hyper-V's first boot, for which the os layer delayed it, is over.
    """
    if definition.features:
        yield Step.of(SET_WINRM_START, WinRmStartModeInput(mode="auto"))
    runtime = definition.container_runtime
    if runtime is not None:
        archive = source_file(lock, runtime.url, runtime_archive_path(definition))
        yield Step.of(INSTALL_CONTAINERD, ContainerdInput(version=runtime.version, archive=archive))
    yield from registry_steps(definition, restart_after=True)


def registry_steps(definition: ImageDefinition, *, restart_after: bool) -> Iterator[Step]:
    """The registry settings; their comments stay here, so that rewording one rebuilds nothing."""
    if definition.registry:
        settings = tuple(setting.model_copy(update={"comment": ""}) for setting in definition.registry)
        yield Step.of(SET_REGISTRY, RegistryInput(settings=settings), restart_after=restart_after)


def images_steps(lock: ImageLock) -> Iterator[Step]:
    """The steps of the `images` layer."""
    if lock.container_images:
        # Large ones first, on more lanes than there are of them: small ones are there by then and keep the disk, which unpacks one after
        # the other, from waiting for the next large one.
        ordered = sorted(lock.container_images, key=lambda image: (-image.size_bytes, image.reference))
        images = tuple(_image_to_pull(image) for image in ordered)
        yield Step.of(PULL_IMAGES, PullImageInput(images=images, parallel=PARALLEL_PULLS, attempts=PULL_ATTEMPTS))


def _image_to_pull(image: LockedContainerImage) -> ImageToPull:
    # Tokens only: fingerprints leave them out, and what the blobs are follows from the digest.
    blobs = {blob.sha256: f"{CACHE_SCHEME}{blob.sha256}" for blob in image.blobs}
    return ImageToPull(reference=image.reference, digest=image.digest, blobs=blobs)
