"""A small sound definition, and locks and scripts with made-up bytes for any definition."""

from __future__ import annotations

import hashlib
from typing import Any

from images.definition import ImageDefinition
from images.loading import definition_digest
from images.lock import (
    ImageLock,
    LockedContainerImage,
    LockedFile,
    LockedOciArtifact,
    LockedOciFile,
    LockedUpdate,
    LockOrigin,
)
from images.stages import STAGES


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def scripts() -> dict[str, bytes]:
    return {"WinVhd.psm1": b"module", **{stage.script: stage.script.encode() for stage in STAGES.values()}}


def lock_of(definition: ImageDefinition, **changes: Any) -> ImageLock:
    urls = [package.url for package in definition.packages]
    if definition.container_runtime:
        urls.insert(0, definition.container_runtime.url)
    version = definition.base.version
    fields: dict[str, Any] = {
        "image": definition.name,
        "origin": LockOrigin.STAND_IN,
        "definition_sha256": definition_digest(definition),
        "base_version": version if version.count(".") == 2 else f"{version.split('.')[0]}.1.260101",
        "updates": tuple(
            LockedUpdate(
                kb=update.kb,
                build=update.build,
                file=LockedFile(url=update.url, sha256=sha256(update.url), size_bytes=len(update.url)) if update.url else None,
            )
            for update in definition.updates
        ),
        "files": tuple(LockedFile(url=url, sha256=sha256(url), size_bytes=len(url)) for url in dict.fromkeys(urls)),
        "container_images": tuple(
            LockedContainerImage(reference=reference, digest=f"sha256:{sha256(reference)}") for reference in definition.container_images
        ),
        "oci_artifacts": tuple(
            LockedOciArtifact(
                reference=artifact.reference,
                digest=f"sha256:{sha256(artifact.reference)}",
                files=(LockedOciFile(title="wcn.zip", sha256=sha256("wcn"), size_bytes=3),),
            )
            for artifact in definition.oci_artifacts
        ),
    }
    return ImageLock.model_validate({**fields, **changes})


def rich_definition() -> ImageDefinition:
    """Every field in use."""
    return ImageDefinition.model_validate(
        {
            "name": "sample",
            "description": "one of everything",
            "base": {
                "publisher": "MicrosoftWindowsServer",
                "offer": "windowsserver2022",
                "sku": "2022-datacenter-core-smalldisk-g2",
                "version": "20348.5499.260809",
                "generation": "V2",
            },
            "os_disk_gib": 40,
            "features": ["Containers", "Hyper-V"],
            "capabilities": ["OpenSSH.Server~~~~0.0.1.0"],
            "updates": [
                {"kb": "KB5120241", "url": "https://updates.example/windows10.0-kb5120241-x64.msu", "build": "20348.5600"},
                {"kb": "KB5120242", "url": "https://updates.example/windows10.0-kb5120242-x64.cab"},
            ],
            "container_runtime": {"version": "1.7.20", "url": "https://files.example/containerd-v1.7.20.tar.gz"},
            "container_images": ["registry.example/pause:3.10", "registry.example/windows/nanoserver:ltsc2022"],
            "packages": [
                {"url": "https://files.example/v1.30.1-1int.zip", "destination": "C:\\cache\\k8s\\", "kubernetes_version": "1.30.1"},
                {"url": "https://files.example/v1.9.0-1int.zip", "destination": "C:\\cache\\k8s\\", "kubernetes_version": "1.9.0"},
                {"url": "https://files.example/provider-1.30.zip", "destination": "C:\\cache\\", "kubernetes_version": "1.30"},
                {"url": "https://files.example/tool.zip", "destination": "C:\\tools\\tool\\", "expand": True},
            ],
            "oci_artifacts": [{"reference": "registry.example/wcn:1", "destination": "C:\\cache\\wcn"}],
            "private_packages": [{"secret": "the-fix", "destination": "C:\\cache", "file_name": "fix.zip", "sha256": "a" * 64}],
            "registry": [
                {"path": "HKLM:\\SYSTEM\\CurrentControlSet\\Services\\hns\\State", "name": "A", "value": 1, "comment": "why"},
                {"path": "HKLM:\\SOFTWARE\\Example", "name": "B", "value": 4, "operation": "or"},
            ],
            "system": {
                "pagefile_mib": 4096,
                "tls_disabled": ["TLS 1.0"],
                "tls_enabled": ["TLS 1.2"],
                "excluded_udp_ports": [65330],
                "openssh": {"ciphers": ["aes256-ctr"]},
            },
            "files": [{"source": "NOTICE", "destination": "C:\\NOTICE.txt"}],
        }
    )
