"""What a node of each cached Kubernetes version needs from the image."""

from __future__ import annotations

from images.definition import ImageDefinition, Package
from images.lock import ImageLock
from images.stages.boot import BootstrapFile, BootstrapVersion
from images.steps.sources import locked_file

CACHE_ROOT = r"C:\akse-cache"
"""The node bootstrap looks for a file by its base name anywhere below this folder."""


def bootstrap_versions(definition: ImageDefinition, lock: ImageLock) -> tuple[BootstrapVersion, ...]:
    """For each exact Kubernetes version of the packages, oldest first: its own files, those of its minor, and the container runtime.

    Raises UnresolvedLockError when the lock lacks one of them.
    """
    exact = {package.kubernetes_version for package in definition.packages if package.kubernetes_version and _is_exact(package)}
    runtime = definition.container_runtime
    versions: list[BootstrapVersion] = []
    for version in sorted(exact, key=version_order):
        minor = ".".join(version.split(".")[:2])
        packages = [
            package
            for package in definition.packages
            if package.kubernetes_version in {version, minor} or (runtime is not None and package.url == runtime.url)
        ]
        versions.append(BootstrapVersion(kubernetes_version=version, files=tuple(_bootstrap_file(package, lock) for package in packages)))
    return tuple(versions)


def version_order(version: str) -> tuple[tuple[int, ...], str]:
    """A key that sorts versions by their numbers, not their letters: 1.9 is older than 1.30."""
    numbers, _, rest = version.lstrip("v").partition("-")
    return tuple(int(part) for part in numbers.split(".") if part.isdigit()), rest


def _is_exact(package: Package) -> bool:
    return (package.kubernetes_version or "").count(".") >= 2


def _bootstrap_file(package: Package, lock: ImageLock) -> BootstrapFile:
    file = locked_file(lock, package.url)
    return BootstrapFile(name=package.name, url=package.url, sha256=file.sha256, size_bytes=file.size_bytes)
