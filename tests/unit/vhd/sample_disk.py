"""A machine's disk with something in every place that an inventory looks at."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

from infra.local.contracts import BaseImageReference
from infra.local.machine import containerd, features, services
from infra.local.machine.base import create_base_disk
from infra.local.machine.disk import MachineDisk
from infra.local.machine.features import FeatureCatalogue
from infra.local.machine.products import product_of
from infra.local.machine.scheduled_tasks import register_task
from tests.unit.vhd.pe_program import make_program

BUILD = 20348
CACHED = {
    r"C:\akse-cache\win-k8s\v1.30.1-1int.zip": b"kubernetes" * 5000,
    r"C:\akse-cache\Ünïcode – файл.txt": b"x",
    r"C:\akse-cache\empty": b"",
}
TOOL = r"C:\aks-tools\DU\du.exe"
VHD_ID = "0ff6b8ea-9a3c-4a3a-9b62-3f6c6f4a0001"
CONFIG = b"version = 2\n"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"


def make_sample_disk(folder: Path, generation: str) -> MachineDisk:
    """A saved disk of Windows Server 2022 with caches, tools, containerd and one image for two Windows builds."""
    create_base_disk(
        folder, BaseImageReference("MicrosoftWindowsServer", "WindowsServer", "2022-smalldisk", "20348.5499.260809", generation), 40
    )
    disk = MachineDisk.open(folder)
    disk.partition_gib = 40
    for path, content in CACHED.items():
        disk.write(path, content)
    disk.write(TOOL, b"MZdu")
    disk.write(r"C:\vhd-id.txt", f"{VHD_ID}\r\n".encode())
    catalogue = FeatureCatalogue(product_of(BUILD))
    for name in ("Hyper-V-PowerShell", "Containers"):
        feature = catalogue.find(name)
        assert feature is not None
        for needed in catalogue.with_dependencies(feature):
            features.set_feature_state(disk, needed, features.INSTALLED)
    disk.write(containerd.CONFIG, CONFIG)
    disk.write(
        containerd.PROGRAM,
        make_program('build\t-ldflags="-X github.com/containerd/containerd/version.Version=v1.7.20 -X a=b"\n', code_bytes=3 << 20),
    )
    services.set_service(
        disk, "containerd", services.AUTO, image_path=rf'"{containerd.PROGRAM}" --run-service --config "{containerd.CONFIG}"'
    )
    disk.make_key(r"HKLM:\SYSTEM\CurrentControlSet\Control\Nsi\{eb004a02-9b1a-11d4-9123-0050047759bc}\5").set(
        "ff320100", bytes.fromhex("1200ffff")
    )
    update_policy = disk.make_key(r"HKLM:\SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate\AU")
    update_policy.set("NoAutoUpdate", 1)
    register_task(disk, r"\expand-volume", "powershell.exe", "-File x.ps1")
    _add_image(disk)
    disk.save()
    return disk


def _add_image(disk: MachineDisk) -> None:
    descriptors = []
    for version in ("10.0.17763.1", "10.0.20348.1"):
        config = _blob(disk, {"os": "windows", "architecture": "amd64", "os.version": version})
        layer = _blob(disk, {"layer": version})
        manifest = _blob(disk, {"mediaType": MANIFEST_TYPE, "config": config, "layers": [layer]})
        descriptors.append(
            {**manifest, "mediaType": MANIFEST_TYPE, "platform": {"os": "windows", "architecture": "amd64", "os.version": version}}
        )
    index = _blob(disk, {"mediaType": INDEX_TYPE, "manifests": descriptors})
    image = containerd.StoredImage("mcr.microsoft.com/oss/pause:3.9", str(index["digest"]), INDEX_TYPE, int(str(index["size"])))
    containerd.write_images(disk, (image,), datetime(2026, 8, 12, tzinfo=UTC))


def _blob(disk: MachineDisk, document: object) -> dict[str, object]:
    content = json.dumps(document).encode()
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    containerd.write_blob(disk, digest, content)
    return {"digest": digest, "size": len(content)}
