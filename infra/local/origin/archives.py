"""Archives whose bytes depend on nothing but their members: the same on every machine and with every Python."""

from __future__ import annotations

import hashlib
import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Sequence

Member = tuple[str, bytes]
"""Path inside the archive, with forward slashes, and content."""

_STORED_BLOCK = 0xFFFF
_ZIP_EPOCH = (2024, 1, 1, 0, 0, 0)
_TAR_EPOCH = 1704067200


def noise(seed: str, size: int) -> bytes:
    """`size` bytes that follow from the seed alone and do not compress, like the content of a real binary."""
    return hashlib.shake_256(seed.encode()).digest(size)


def make_zip(members: Sequence[Member]) -> bytes:
    """A ZIP archive without compression: zlib's output differs between its versions, stored bytes do not."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name, _ZIP_EPOCH)
            info.create_system = 0
            archive.writestr(info, content)
    return buffer.getvalue()


def make_tar(members: Sequence[Member]) -> bytes:
    """A ustar archive with fixed owners and times."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            info.mtime = _TAR_EPOCH
            info.mode = 0o755
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def make_gzip(content: bytes) -> bytes:
    """A gzip stream of stored blocks (RFC 1951, 3.2.4; RFC 1952), for the same reason as in make_zip."""
    out = bytearray(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff")
    blocks = range(0, len(content), _STORED_BLOCK) if content else (0,)
    for start in blocks:
        block = content[start : start + _STORED_BLOCK]
        last = start + _STORED_BLOCK >= len(content)
        out += struct.pack("<BHH", int(last), len(block), len(block) ^ 0xFFFF)
        out += block
    out += struct.pack("<II", zlib.crc32(content), len(content) & 0xFFFFFFFF)
    return bytes(out)


def make_tar_gz(members: Sequence[Member]) -> bytes:
    """A .tar.gz of the members."""
    return make_gzip(make_tar(members))
