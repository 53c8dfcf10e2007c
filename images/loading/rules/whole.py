"""Rules about the definition as a whole."""

from __future__ import annotations

from collections.abc import Iterator

from images.definition import E2ESuite
from images.loading.parts import Fault, Parts
from images.privacy import is_private_name

_CONTENT = ("features", "capabilities", "container_runtime", "container_images", "packages", "oci_artifacts", "private_packages")


def whole_rules(parts: Parts) -> Iterator[Fault]:
    """A definition must be called like its file, make an image of some use, and be testable."""
    name = parts.one("name", str)
    if name and name.value != parts.file_stem:
        yield Fault(("name",), f'the file is called "{parts.file_stem}", the image "{name.value}"', "images are found by their file's name")
    if name and is_private_name(name.value):
        yield Fault(("name",), "begins with `private`", "that is how private builds are told from all others, which are never published")
    if not any(parts.has(field) for field in _CONTENT):
        if parts.has("updates"):
            yield Fault(
                ("updates",),
                "holds patches and nothing else",
                "an image of Windows plus updates is what the marketplace already publishes each month: take a newer base version, or add "
                "what a node needs (features, a container runtime, packages)",
            )
        else:
            yield Fault((), "adds nothing to its base image", "add features, a container runtime, container images or packages")
    disk, free = parts.one("os_disk_gib", int), parts.one("minimum_free_gib", float)
    if disk and free and free.value >= disk.value:
        yield Fault(("minimum_free_gib",), f"{free.value:g} GiB can not be free on a disk of {disk.value} GiB")
    for suite in parts.suites:
        if suite.value is E2ESuite.NODE_BOOTSTRAP and not any(each.value.kubernetes_version for each in parts.packages):
            yield Fault(suite.at, "node-bootstrap would test nothing: no package has a kubernetes_version", "set it on the node's packages")
