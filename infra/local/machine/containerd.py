r"""containerd on a machine: program, configuration, and its store with images.

Root C:\ProgramData\containerd\root. Content by digest: io.containerd.content.v1.content\blobs\sha256\<hex>. Images:
io.containerd.metadata.v1.bolt\meta.db, buckets v1/<namespace>/images/<name>/{createdat, updatedat, target/{digest, mediatype, size},
labels} with times as Go's time.MarshalBinary and the size as a zig-zag varint (containerd, core/metadata/buckets.go, images.go, boltutil).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from infra.local.machine.bolt import Tree, read_database, write_database
from infra.local.machine.disk import MachineDisk

FOLDER = r"C:\Program Files\containerd"
ROOT = r"C:\ProgramData\containerd\root"
PROGRAM = rf"{FOLDER}\containerd.exe"
CONFIG = rf"{FOLDER}\config.toml"
BLOBS = rf"{ROOT}\io.containerd.content.v1.content\blobs\sha256"
METADATA = rf"{ROOT}\io.containerd.metadata.v1.bolt\meta.db"
NAMESPACE = "k8s.io"
MANAGED_LABEL = ("io.cri-containerd.image", "managed")
_VERSION = re.compile(rb"github\.com/containerd/containerd(?:/v2)?/version\.Version=(\S+?)[\s\"]")

ARCHIVE_MARK = rf"{FOLDER}\archive.sha256"
"""Hash of the archive that is installed."""

CONFIG_TEXT = r"""version = 2
root = "C:\\ProgramData\\containerd\\root"
state = "C:\\ProgramData\\containerd\\state"

[grpc]
  address = "\\\\.\\pipe\\containerd-containerd"

[plugins]
  [plugins."io.containerd.grpc.v1.cri"]
    [plugins."io.containerd.grpc.v1.cri".containerd]
      snapshotter = "windows"
      discard_unpacked_layers = true
      default_runtime_name = "runhcs-wcow-process"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runhcs-wcow-process]
        runtime_type = "io.containerd.runhcs.v1"
"""


@dataclass(frozen=True)
class StoredImage:
    """A name in containerd's image store and what it points at."""

    name: str
    digest: str
    media_type: str
    size_bytes: int
    """Size of the manifest or index itself."""


def program_version(disk: MachineDisk) -> str | None:
    """What `containerd.exe --version` says, None when there is no containerd. Go programs carry it in their build information."""
    program = disk.path(PROGRAM)
    if not program.exists():
        return None
    found = _VERSION.search(program.read_bytes())
    return found.group(1).decode() if found else ""


def has_blob(disk: MachineDisk, digest: str) -> bool:
    """True when the content store holds these bytes, whole: they are hashed again."""
    file = disk.path(rf"{BLOBS}\{digest.removeprefix('sha256:')}")
    return file.exists() and f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}" == digest


def read_blob(disk: MachineDisk, digest: str) -> bytes | None:
    """A blob of the content store, None when it is not there."""
    file = disk.path(rf"{BLOBS}\{digest.removeprefix('sha256:')}")
    return file.read_bytes() if file.exists() else None


def write_blob(disk: MachineDisk, digest: str, content: bytes) -> None:
    """Put verified bytes into the content store."""
    disk.write(rf"{BLOBS}\{digest.removeprefix('sha256:')}", content)


def images(disk: MachineDisk) -> tuple[StoredImage, ...]:
    """All names in the namespace k8s.io, sorted."""
    file = disk.path(METADATA)
    if not file.exists():
        return ()
    bucket: Tree | bytes | None = read_database(file.read_bytes())
    for name in (b"v1", NAMESPACE.encode(), b"images"):
        bucket = bucket.get(name) if bucket is not None and not isinstance(bucket, bytes) else None
    if bucket is None or isinstance(bucket, bytes):
        return ()
    found = []
    for name, image in bucket.items():
        target = image.get(b"target") if not isinstance(image, bytes) else None
        if target is None or isinstance(target, bytes):
            continue
        fields = {key: value for key, value in target.items() if isinstance(value, bytes)}
        found.append(StoredImage(name.decode(), fields[b"digest"].decode(), fields[b"mediatype"].decode(), _read_varint(fields[b"size"])))
    return tuple(sorted(found, key=lambda image: image.name))


def write_images(disk: MachineDisk, stored: tuple[StoredImage, ...], now: datetime) -> None:
    """Make these the images of the namespace k8s.io."""
    entries: dict[bytes, Tree] = {}
    moment = _go_time(now)
    for image in stored:
        target = {b"digest": image.digest.encode(), b"mediatype": image.media_type.encode(), b"size": _varint(image.size_bytes)}
        labels = {MANAGED_LABEL[0].encode(): MANAGED_LABEL[1].encode()}
        entries[image.name.encode()] = {b"createdat": moment, b"updatedat": moment, b"target": target, b"labels": labels}
    disk.write(METADATA, write_database({b"v1": {NAMESPACE.encode(): {b"images": entries}, b"version": _varint(3)}}))


def host_manifest(index: dict[str, Any], windows_build: int) -> dict[str, Any] | None:
    """The descriptor of an index that a Windows host of this build runs, None when it has none.

    The build must be the host's own; from Windows Server 2022 on a host also runs older images down to 20348 (containerd,
    platforms/defaults_windows.go; hcsshim, osversion/platform_compat_windows.go). An entry without os.version fits any host.
    """
    best: tuple[int, dict[str, Any]] | None = None
    for descriptor in index["manifests"]:
        platform = descriptor.get("platform", {})
        if platform.get("os") != "windows" or platform.get("architecture") != "amd64":
            continue
        parts = platform.get("os.version", "").split(".")
        build = int(parts[2]) if len(parts) > 2 else windows_build
        fits = build == windows_build or 20348 <= build < windows_build
        if fits and (best is None or build > best[0]):
            best = (build, descriptor)
    return best[1] if best else None


def _varint(number: int) -> bytes:
    """Go's binary.PutVarint: zig-zag, seven bits a byte, low ones first."""
    value = number << 1 if number >= 0 else ~(number << 1)
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(raw: bytes) -> int:
    value = 0
    for index, byte in enumerate(raw):
        value |= (byte & 0x7F) << (7 * index)
    return value >> 1 if not value & 1 else ~(value >> 1)


def _go_time(moment: datetime) -> bytes:
    """Go's time.MarshalBinary, version 1: seconds since year 1, nanoseconds, -1 for UTC."""
    delta = moment.astimezone(UTC) - datetime(1, 1, 1, tzinfo=UTC)
    seconds = delta.days * 86400 + delta.seconds
    return b"\x01" + seconds.to_bytes(8, "big") + (delta.microseconds * 1000).to_bytes(4, "big") + (-1).to_bytes(2, "big", signed=True)
