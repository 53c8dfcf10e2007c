r"""containerd's images as they lie on a disk: names and targets in meta.db, content below blobs\sha256.

Source: containerd, core/metadata/buckets.go (bucket v1/<namespace>/images/<name>/target with digest, mediatype and size, the size as
a signed varint) and core/content: one file a blob, named by its hash. Manifests and indexes: OCI image specification 1.1.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from images.inventory import ContainerImage
from infra.vhd import windows_places as places
from infra.vhd.block_cache import BlockCache
from infra.vhd.bolt import BoltDatabase
from infra.vhd.errors import VhdError
from infra.vhd.ntfs import NtfsEntry, NtfsVolume

_MAX_MANIFEST_BYTES = 8 * 2**20
_MAX_IMAGES = 10_000
_WHOLE_METADATA_BYTES = 2**20
_OLDEST_COMPATIBLE_BUILD = 20348
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class ImageTarget:
    """What a name in the metadata points at."""

    name: str
    digest: str
    media_type: str
    size_bytes: int


class ContentStore:
    """The content store of a volume: blobs by digest, with sizes from the folder, read when asked for."""

    def __init__(self, volume: NtfsVolume) -> None:
        self._volume = volume
        folder = f"{places.CONTENT_FOLDER}\\blobs\\sha256"
        self._blobs: dict[str, NtfsEntry] = {f"sha256:{entry.name.lower()}": entry for entry in volume.walk(folder) if not entry.is_folder}
        self._documents: dict[str, dict[str, Any]] = {}

    def size_of(self, digest: str) -> int | None:
        """Size of a blob in bytes, or None when it is not in the store."""
        entry = self._blobs.get(digest)
        return None if entry is None else entry.size_bytes

    def document(self, digest: str) -> dict[str, Any] | None:
        """A manifest, index or config, or None when it is not in the store; VhdError when its bytes are not JSON."""
        known = self._documents.get(digest)
        if known is not None:
            return known
        entry = self._blobs.get(digest)
        if entry is None:
            return None
        content = self._volume.read_entry(entry, max_bytes=_MAX_MANIFEST_BYTES)
        try:
            parsed = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise VhdError(f"blob {digest} is no JSON document") from error
        if not isinstance(parsed, dict):
            raise VhdError(f"blob {digest} is no manifest")
        self._documents[digest] = parsed
        return parsed

    def prefetch(self, digests: Iterable[str]) -> None:
        """Have these documents fetched together; what is not there is left out."""
        entries = [self._blobs[digest] for digest in sorted(set(digests)) if digest in self._blobs and digest not in self._documents]
        self._volume.prefetch(entry for entry in entries if entry.size_bytes <= _MAX_MANIFEST_BYTES)

    def blobs(self) -> dict[str, NtfsEntry]:
        """All blobs by digest."""
        return dict(self._blobs)


def read_targets(volume: NtfsVolume, namespace: str = places.CONTAINERD_NAMESPACE) -> tuple[ImageTarget, ...]:
    """The image names of a namespace; () when there is no containerd; VhdError when meta.db is damaged."""
    entry = volume.find(places.METADATA_FILE)
    if entry is None:
        return ()
    # Each image has a page of its own in it, so that nearly all of it is read.
    volume.prefetch([entry], max_bytes_each=_WHOLE_METADATA_BYTES)
    database = BoltDatabase(BlockCache(volume.open_file(entry), block_bytes=4096))
    bucket = database.root
    for name in (b"v1", namespace.encode(), b"images"):
        found = bucket.bucket(name)
        if found is None:
            return ()
        bucket = found
    targets: list[ImageTarget] = []
    for image_name, image in bucket.buckets():
        target = image.bucket(b"target")
        if target is None or len(targets) >= _MAX_IMAGES:
            raise VhdError(f"image {image_name!r} in meta.db has no target, or there are more than {_MAX_IMAGES}")
        fields = dict(target.items())
        targets.append(
            ImageTarget(
                image_name.decode(errors="replace"),
                fields.get(b"digest", b"").decode(errors="replace"),
                fields.get(b"mediatype", b"").decode(errors="replace"),
                decode_varint(fields.get(b"size", b"")),
            )
        )
    return tuple(targets)


def read_images(volume: NtfsVolume, os_build: int) -> tuple[ContainerImage, ...]:
    """The container images of a disk with what of their content is there, sorted by name.

    The config is that of the manifest which a Windows of this build would choose.
    """
    targets = read_targets(volume)
    if not targets:
        return ()
    store = ContentStore(volume)
    _fetch_together(store, [target.digest for target in targets])
    described: dict[str, ContainerImage] = {}
    found = []
    for target in targets:
        # containerd knows each image by its tag and by two digests, all with the same target.
        key = f"{target.media_type} {target.digest}"
        image = described.get(key) or _describe(store, target, os_build)
        described[key] = image
        found.append(image.model_copy(update={"name": target.name}))
    return tuple(sorted(found, key=lambda image: image.name))


def _fetch_together(store: ContentStore, digests: list[str]) -> None:
    """The documents of all images, one level after the other."""
    store.prefetch(digests)
    below: list[str] = []
    for digest in digests:
        document = store.document(digest) if _DIGEST.fullmatch(digest) else None
        if document is None:
            continue
        below += [str(entry.get("digest", "")) for entry in _objects(document.get("manifests"))]
        config = document.get("config")
        below += [str(config.get("digest", ""))] if isinstance(config, dict) else []
    store.prefetch(below)


def decode_varint(data: bytes) -> int:
    """Go's signed varint (encoding/binary): groups of 7 bits, lowest first, zigzag; 0 for nothing."""
    value = 0
    for index, byte in enumerate(data[:10]):
        value |= (byte & 0x7F) << (7 * index)
        if not byte & 0x80:
            break
    return (value >> 1) ^ -(value & 1)


def _describe(store: ContentStore, target: ImageTarget, os_build: int) -> ContainerImage:
    reachable: dict[str, int] = {}
    document = _take(store, target.digest, reachable)
    platforms: tuple[str, ...] = ()
    config_digest = ""
    if document is not None and "manifests" in document:
        entries = _objects(document.get("manifests"))
        platforms = tuple(sorted(filter(None, (_platform(entry.get("platform")) for entry in entries))))
        chosen = _choose(entries, os_build)
        for entry in entries:
            manifest = _take(store, str(entry.get("digest", "")), reachable)
            found = _take_manifest(store, manifest, reachable)
            if entry is chosen:
                config_digest = found
    else:
        config_digest = _take_manifest(store, document, reachable)
        config = store.document(config_digest) if config_digest else None
        platforms = tuple(filter(None, [_platform(config)]))
    return ContainerImage(
        name=target.name,
        digest=target.digest,
        media_type=target.media_type,
        config_digest=config_digest,
        size_bytes=sum(reachable.values()),
        platforms=platforms,
    )


def _take(store: ContentStore, digest: str, reachable: dict[str, int]) -> dict[str, Any] | None:
    size = store.size_of(digest) if _DIGEST.fullmatch(digest) else None
    if size is None:
        return None
    reachable[digest] = size
    return store.document(digest)


def _take_manifest(store: ContentStore, manifest: dict[str, Any] | None, reachable: dict[str, int]) -> str:
    if manifest is None:
        return ""
    config = manifest.get("config")
    for part in (config, *_objects(manifest.get("layers"))):
        digest = str(part.get("digest", "")) if isinstance(part, dict) else ""
        size = store.size_of(digest)
        if size is not None:
            reachable[digest] = size
    return str(config.get("digest", "")) if isinstance(config, dict) else ""


def _choose(entries: list[dict[str, Any]], os_build: int) -> dict[str, Any] | None:
    """The entry that a Windows host of this build runs: its own build, or from Server 2022 on the newest older one down to 20348.

    containerd, platforms/defaults_windows.go; hcsshim, osversion/platform_compat_windows.go. An entry without os.version fits any host.
    """
    best: tuple[int, int] | None = None
    for index, entry in enumerate(entries):
        platform = entry.get("platform")
        if not isinstance(platform, dict) or platform.get("os") != "windows" or platform.get("architecture") != "amd64":
            continue
        version = re.fullmatch(r"\d+\.\d+\.(\d{1,9})(?:\.\d+)*", str(platform.get("os.version", "")))
        build = int(version.group(1)) if version else os_build
        if (build == os_build or _OLDEST_COMPATIBLE_BUILD <= build < os_build) and (best is None or build > best[0]):
            best = (build, index)
    return None if best is None else entries[best[1]]


def _platform(platform: Any) -> str:
    if not isinstance(platform, dict):
        return ""
    parts = (platform.get("os"), platform.get("architecture"), platform.get("os.version"))
    return "/".join(str(part) for part in parts if part)


def _objects(value: Any) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
