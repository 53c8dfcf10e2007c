"""components.json: container images, packages and OCI artifacts that apply to one SKU."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from images.agentbaker.expressions import ExpressionError, expand
from images.agentbaker.source import Json, Source, objects_of, text_of
from images.definition import OciArtifact, Package

CPU_ARCHITECTURE: Final = "amd64"

# Keys of downloadURIs.windows by the beginning of the SKU; anything else is served by `default`.
_PARTS: Final = (("2022", "ws2022"), ("23h2", "ws23h2"), ("2025", "ws2025"))


@dataclass(frozen=True)
class _ByKubernetes:
    """Packages that belong to Kubernetes versions, and how their own version tells which."""

    minor_only: bool

    def version(self, package_version: str) -> str:
        numbers = package_version.removeprefix("v")
        return ".".join(numbers.split(".")[:2]) if self.minor_only else numbers


# kubelet's zip is of one version; the credential provider is versioned with the cloud provider, whose minor is that of Kubernetes.
_KUBERNETES_PACKAGES: Final = {
    "kubernetes-binaries": _ByKubernetes(minor_only=False),
    "windows credential provider": _ByKubernetes(minor_only=True),
    "windows credential provider dalec": _ByKubernetes(minor_only=True),
}

# Below this folder lie tools that are unpacked on the image, not files that a node looks up.
_TOOLS_FOLDER: Final = "c:\\aks-tools\\"


def applies(entry: dict[str, Json], sku: str) -> bool:
    """True when an entry's windowsSkuMatch is absent or matches the SKU (PowerShell's -like: wildcards, no case)."""
    pattern = text_of(entry, "windowsSkuMatch")
    return pattern is None or fnmatchcase(sku.lower(), pattern.lower())


def versions_of(entries: Iterable[dict[str, Json]], sku: str) -> Iterator[str]:
    """latestVersion, then previousLatestVersion, of each entry that applies."""
    for entry in entries:
        if applies(entry, sku):
            for key in ("latestVersion", "previousLatestVersion"):
                version = text_of(entry, key)
                if version:
                    yield version


def container_images(source: Source, sku: str) -> tuple[str, ...]:
    """References of the images for a SKU, in the file's order, each once."""
    found: dict[str, None] = {}
    for path, entry in source.entries("ContainerImages"):
        # Absent: the multi-arch images serve Windows too. Empty: there are none for Windows.
        versions = entry.get("windowsversions", entry.get("multiarchversionsv2"))
        url = text_of(entry, "windowsDownloadURL") or text_of(entry, "downloadURL")
        if url is None:
            source.fault(path, "has no downloadURL")
            continue
        if "*" not in url and objects_of(versions):
            source.fault(f"{path}.downloadURL", f"{url} has no * for the version", near=url)
            continue
        found.update(dict.fromkeys(url.replace("*", version) for version in versions_of(objects_of(versions), sku)))
    return tuple(found)


def packages(source: Source, sku: str) -> tuple[Package, ...]:
    """Packages for a SKU, in the file's order."""
    return tuple(package for path, entry in source.entries("Packages") for package in _package(source, path, entry, sku))


def _package(source: Source, path: str, entry: dict[str, Json], sku: str) -> Iterator[Package]:
    folder = text_of(entry, "windowsDownloadLocation")
    part = _part(entry.get("downloaduris"), sku)
    if folder is None or part is None:
        return
    name = text_of(entry, "name") or ""
    url = text_of(part, "windowsDownloadURL") or text_of(part, "downloadURL")
    by_kubernetes = _KUBERNETES_PACKAGES.get(name)
    for version in versions_of(objects_of(part.get("versionsv2")), sku):
        expanded = _expand(source, path, name, url, version)
        if expanded is not None:
            yield Package(
                url=expanded,
                destination=_with_drive(folder),
                kubernetes_version=by_kubernetes.version(version) if by_kubernetes else None,
                expand=folder.lower().startswith(_TOOLS_FOLDER),
            )


def _part(uris: Json, sku: str) -> dict[str, Json] | None:
    if not isinstance(uris, dict):
        return None
    windows = uris.get("windows")
    if isinstance(windows, dict):
        key = next((part for prefix, part in _PARTS if sku.lower().startswith(prefix)), "default")
        chosen = windows.get(key, windows.get("default"))
        if isinstance(chosen, dict):
            return chosen
    default = uris.get("default")
    current = default.get("current") if isinstance(default, dict) else None
    return current if isinstance(current, dict) else None


def oci_artifacts(source: Source, sku: str) -> tuple[OciArtifact, ...]:
    """OCI artifacts for a SKU, in the file's order."""
    found: list[OciArtifact] = []
    for path, entry in source.entries("OCIArtifacts"):
        folder = text_of(entry, "windowsDownloadLocation")
        if folder is None:
            continue
        for version in versions_of(objects_of(entry.get("windowsversions")), sku):
            reference = _expand(source, path, text_of(entry, "name") or "", text_of(entry, "registry"), version)
            if reference is not None:
                found.append(OciArtifact(reference=reference, destination=_with_drive(folder)))
    return tuple(found)


def _expand(source: Source, path: str, name: str, text: str | None, version: str) -> str | None:
    if text is None:
        source.fault(path, f'"{name}" has no URL for Windows', near=name)
        return None
    try:
        return expand(text, {"version": version, "CPU_ARCH": CPU_ARCHITECTURE})
    except ExpressionError as error:
        source.fault(path, f'"{name}": {error}', "the importer expands ${version}, ${CPU_ARCH} and $($version.Split('-')[0])", near=text)
        return None


def _with_drive(folder: str) -> str:
    return folder[:1].upper() + folder[1:]
