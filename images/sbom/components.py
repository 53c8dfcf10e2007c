"""The components of an image as CycloneDX 1.6 has them: https://cyclonedx.org/docs/1.6/json/#components.

They are plain JSON, checked against the schema afterwards (images/sbom/validation.py), not objects of cyclonedx-python-lib: its sets hash
and compare whole components, and with 10,000 files its model (11.12) took 95 s to build and write; this takes less than half a second.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from images.definition import ContainerRuntime, ImageDefinition
from images.inventory import CachedFile, ContainerImage, Defender, Inventory, Qfe, Runtime
from images.lock import ImageLock, LockedFile, LockedOciArtifact
from images.sbom.purls import file_purl, oci_purl, split_tag
from images.steps.sources import runtime_archive_path

Component = dict[str, Any]

MICROSOFT: Final = "Microsoft Corporation"

# Product names of the CPE dictionary, with versions 10.0.<build>.<UBR>: https://nvd.nist.gov/products/cpe.
_CPE_PRODUCTS: Final[Mapping[int, str]] = {17763: "windows_server_2019", 20348: "windows_server_2022", 26100: "windows_server_2025"}


def _properties(*pairs: tuple[str, str]) -> list[dict[str, str]]:
    return [{"name": f"winvhd:{name}", "value": value} for name, value in pairs if value]


def _sha256(digest: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": digest}] if digest else []


def operating_system(inventory: Inventory) -> Component:
    """Windows; its features and capabilities are properties, because they are parts of it and have no version of their own."""
    version = f"10.0.{inventory.os.version}"
    component: Component = {"type": "operating-system", "bom-ref": "os", "publisher": MICROSOFT}
    component |= {"name": inventory.os.product_name, "version": version}
    product = _CPE_PRODUCTS.get(inventory.os.build)
    if product:
        component["cpe"] = f"cpe:2.3:o:microsoft:{product}:{version}:*:*:*:*:*:*:*"
    component["properties"] = _properties(
        ("installation-type", inventory.os.installation_type),
        *(("feature", feature.name) for feature in inventory.features),
        *(("capability", name) for name in inventory.capabilities),
    )
    return component


def updates(qfes: Iterable[Qfe], lock: ImageLock) -> list[Component]:
    """One component for each QFE; those the build installed from a file have its hash and address.

    `library` is what CycloneDX recommends where no other type fits.
    """
    files = {update.kb: update.file for update in lock.updates if update.file is not None}
    previews = {update.kb for update in lock.updates if update.preview}
    return [_update(qfe, files.get(qfe.kb), preview=qfe.kb in previews) for qfe in qfes]


def _update(qfe: Qfe, file: LockedFile | None, *, preview: bool) -> Component:
    component: Component = {"type": "library", "bom-ref": f"qfe:{qfe.kb}", "publisher": MICROSOFT, "name": qfe.kb}
    if qfe.description:
        component["description"] = qfe.description
    if file is not None:
        component |= {"hashes": _sha256(file.sha256), "purl": file_purl(qfe.kb, sha256=file.sha256, url=file.url)}
    if qfe.support_link:
        component["externalReferences"] = [{"type": "release-notes", "url": qfe.support_link}]
    if preview:
        component["properties"] = _properties(("preview", "true"))
    return component


def defender(found: Defender) -> Component:
    """Microsoft Defender Antivirus by its platform version."""
    return {
        "type": "application",
        "bom-ref": "defender",
        "publisher": MICROSOFT,
        "name": "Microsoft Defender Antivirus",
        "version": found.platform_version,
        "properties": _properties(("signature-version", found.signature_version), ("signatures-updated", found.signatures_updated)),
    }


def runtime(found: Runtime, wanted: ContainerRuntime | None, lock: ImageLock) -> Component:
    """The container runtime, with the archive it came from when the build installed it."""
    component: Component = {"type": "application", "bom-ref": "runtime", "name": found.name, "version": found.version}
    archive = next((file for file in lock.files if wanted is not None and file.url == wanted.url), None)
    if archive is not None:
        component["purl"] = file_purl(found.name, sha256=archive.sha256, url=archive.url, version=found.version.removeprefix("v"))
    component["properties"] = _properties(("config-sha256", found.config_sha256))
    return component


def container_image(found: ContainerImage) -> Component:
    """A container image by its tag; its hash is that of the manifest or index that the tag names."""
    repository, tag = split_tag(found.name)
    return {
        "type": "container",
        "bom-ref": image_ref(found.name),
        "name": repository,
        "version": tag,
        "hashes": _sha256(found.digest.removeprefix("sha256:")),
        "purl": oci_purl(found.name, found.digest),
        "properties": _properties(
            ("config-digest", found.config_digest), ("media-type", found.media_type), ("size-bytes", str(found.size_bytes))
        ),
    }


def image_ref(name: str) -> str:
    """The bom-ref of a container image."""
    return f"container-image:{name}"


def oci_artifact(locked: LockedOciArtifact) -> Component:
    """An OCI artifact; its files are components of their own, on which it depends."""
    repository, tag = split_tag(locked.reference)
    return {
        "type": "library",
        "bom-ref": f"oci-artifact:{locked.reference}",
        "name": repository,
        "version": tag,
        "hashes": _sha256(locked.digest.removeprefix("sha256:")),
        "purl": oci_purl(locked.reference, locked.digest),
    }


def file(found: CachedFile, urls: Mapping[str, str]) -> Component:
    """A file on the image; `urls` has the address of each file that was downloaded, by its path in lower case."""
    name = found.path.rpartition("\\")[2]
    return {
        "type": "file",
        "bom-ref": file_ref(found.path),
        "name": name,
        "hashes": _sha256(found.sha256),
        "purl": file_purl(name, sha256=found.sha256, url=urls.get(found.path.lower(), "")),
        "properties": _properties(("path", found.path), ("size-bytes", str(found.size_bytes))),
    }


def file_ref(path: str) -> str:
    """The bom-ref of a file: Windows' paths are the same in any case."""
    return f"file:{path.lower()}"


def file_urls(definition: ImageDefinition) -> dict[str, str]:
    """The public address of each file of a definition, by its path in lower case; private packages have none."""
    urls = {package.path.lower(): package.url for package in definition.packages}
    if definition.container_runtime is not None:
        urls[runtime_archive_path(definition).lower()] = definition.container_runtime.url
    return urls
