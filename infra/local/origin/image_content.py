"""What container images and OCI artifacts of the stand-in hold: manifests, configs and layers, all of them real and deterministic.

Formats: OCI image specification 1.1 (image index, manifest, config, artifact guidance) and Docker image manifest version 2, schema 2.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from infra.local.origin.archives import make_gzip, make_tar, make_zip, noise
from infra.local.origin.bodies import SCALE
from infra.local.origin.update_calendar import cumulative_update, newest
from infra.local.origin.windows_releases import LTSC_BUILDS, MULTI_PLATFORM_UBR

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
TITLE = "org.opencontainers.image.title"

_MIB = 1024 * 1024
_CREATED = "2026-08-11T00:00:00Z"


@dataclass(frozen=True)
class _Family:
    """Media types of one of the two manifest families."""

    index: str
    manifest: str
    config: str
    layer: str


_OCI = _Family(OCI_INDEX, OCI_MANIFEST, "application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar+gzip")
_DOCKER = _Family(
    DOCKER_LIST,
    DOCKER_MANIFEST,
    "application/vnd.docker.container.image.v1+json",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
)


@dataclass(frozen=True)
class _Platform:
    os: str
    architecture: str
    os_version: str = ""

    def descriptor(self) -> dict[str, str]:
        described = {"architecture": self.architecture, "os": self.os}
        return described | {"os.version": self.os_version} if self.os_version else described


@dataclass
class ImageContent:
    """Everything behind one tag: the digest that the tag points at, and all blobs by digest."""

    digest: str = ""
    blobs: dict[str, bytes] = field(default_factory=dict)

    def add(self, content: bytes) -> str:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self.blobs[digest] = content
        return digest


def _encode(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()


def _describe(content: ImageContent, body: bytes, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": content.add(body), "size": len(body)}


def canonical_tag(repository: str, tag: str, day: date | None = None) -> str:
    """The tag whose content a tag has on a day (None: the last one): windows/*:ltsc2022 is the newest 10.0.20348.x then.

    windowsservercore-ltsc2022 likewise.
    """
    if not repository.startswith("windows/"):
        return tag
    prefix, _, channel = tag.rpartition("-")
    if channel in LTSC_BUILDS:
        version = f"10.0.{newest(LTSC_BUILDS[channel], day).fixed_build}"
        return f"{prefix}-{version}" if prefix else version
    return tag


def is_released(repository: str, tag: str, day: date | None) -> bool:
    """False for a Windows base image that came after a day; versions that the calendar does not know were always there."""
    version = _windows_version(tag) if repository.startswith("windows/") else None
    if version is None or day is None:
        return True
    build, ubr = version.split(".")[2:]
    update = cumulative_update(int(build), int(ubr))
    return update is None or update.released <= day


def _windows_version(tag: str) -> str | None:
    version = tag.rpartition("-")[2]
    parts = version.split(".")
    return version if len(parts) == 4 and parts[:2] == ["10", "0"] and all(part.isdigit() for part in parts) else None


def _platforms(repository: str, tag: str) -> list[_Platform]:
    if repository.startswith("windows/"):
        version = _windows_version(tag)
        return [_Platform("windows", "amd64", version)] if version else []
    if tag.endswith("-windows-hp"):
        # Host process images run on any build, so their index names none.
        return [_Platform("windows", "amd64")]
    linux = [_Platform("linux", "amd64"), _Platform("linux", "arm64")]
    return linux + [_Platform("windows", "amd64", f"10.0.{build}.{ubr}") for build, ubr in MULTI_PLATFORM_UBR.items()]


def _layers(repository: str, tag: str, platform: _Platform) -> list[tuple[str, int]]:
    """(seed, real size in bytes) of each layer; layers with the same seed are shared between images, as base layers are."""
    build = platform.os_version.split(".")[2] if platform.os_version else ""
    server_core = [(f"servercore base {build}", 1400 * _MIB), (f"servercore update {platform.os_version}", 600 * _MIB)]
    if repository == "windows/servercore":
        return server_core
    if repository == "windows/nanoserver":
        return [(f"nanoserver {platform.os_version}", 119 * _MIB)]
    own = 20 + hashlib.sha256(f"{repository}:{tag}".encode()).digest()[0] % 60
    name = f"{repository}:{tag} {platform.os}/{platform.architecture} {build}"
    if repository.startswith("windows/servercore/"):
        return [*server_core, (name, own * _MIB)]
    return [(f"{platform.os} base {platform.os_version}", 8 * _MIB), (name, own * _MIB)]


def _manifest(content: ImageContent, family: _Family, repository: str, tag: str, platform: _Platform) -> dict[str, Any]:
    layers: list[dict[str, Any]] = []
    diff_ids: list[str] = []
    folder = "Files/Program Files" if platform.os == "windows" else "usr/bin"
    for seed, size in _layers(repository, tag, platform):
        tar = make_tar([(f"{folder}/{hashlib.sha256(seed.encode()).hexdigest()[:12]}.bin", noise(seed, max(size // SCALE, 4096)))])
        diff_ids.append(f"sha256:{hashlib.sha256(tar).hexdigest()}")
        layers.append(_describe(content, make_gzip(tar), family.layer))
    config: dict[str, Any] = {
        "architecture": platform.architecture,
        "os": platform.os,
        "created": _CREATED,
        "config": {"Labels": {"org.opencontainers.image.ref.name": f"{repository}:{tag}"}},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }
    if platform.os_version:
        config["os.version"] = platform.os_version
    manifest = {
        "schemaVersion": 2,
        "mediaType": family.manifest,
        "config": _describe(content, _encode(config), family.config),
        "layers": layers,
    }
    return _describe(content, _encode(manifest), family.manifest) | {"platform": platform.descriptor()}


def _artifact(repository: str, tag: str) -> ImageContent:
    content = ImageContent()
    name = repository.rpartition("/")[2]
    empty = b"{}"
    archive = make_zip(
        [("setup.ps1", f"# {repository}:{tag}\n".encode()), ("bin/agent.exe", b"MZ" + noise(f"{repository}:{tag}", 40 * _MIB // SCALE))]
    )
    about = _encode({"name": repository, "version": tag})
    layers = [
        _describe(content, body, media_type) | {"annotations": {TITLE: title}}
        for title, body, media_type in (
            (f"{name}-{tag}.zip", archive, "application/zip"),
            (f"{name}-{tag}.json", about, "application/json"),
        )
    ]
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": "application/vnd.winvhd.package",
        "config": _describe(content, empty, "application/vnd.oci.empty.v1+json"),
        "layers": layers,
    }
    content.digest = content.add(_encode(manifest))
    return content


def is_artifact(repository: str) -> bool:
    """True for repositories that hold OCI artifacts (files) instead of container images."""
    return repository.endswith("/package") or "/artifacts/" in repository or repository.startswith("artifacts/")


def image_content(repository: str, tag: str) -> ImageContent | None:
    """The content of repository:tag, or None when there is no such image: a Windows base image without a version that exists."""
    if "does-not-exist" in repository or "does-not-exist" in tag:
        return None
    if is_artifact(repository):
        return _artifact(repository, tag)
    tag = canonical_tag(repository, tag)
    platforms = _platforms(repository, tag)
    if not platforms:
        return None
    v1_api = repository.startswith("windows/") or (repository.startswith("containernetworking/") and "/v2/" not in repository)
    family = _DOCKER if v1_api else _OCI
    content = ImageContent()
    manifests = [_manifest(content, family, repository, tag, platform) for platform in platforms]
    content.digest = content.add(_encode({"schemaVersion": 2, "mediaType": family.index, "manifests": manifests}))
    return content
