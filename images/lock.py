"""ImageLock: what a definition resolved to, exactly, so that two builds of one lock place the same bytes."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from images.definition import HttpUrl, ImageReference, KbNumber, Sha256
from images.frozen import Frozen


class LockOrigin(StrEnum):
    """Where the bytes behind a lock's hashes come from; the azure profile refuses stand-in."""

    PUBLIC = "public"
    STAND_IN = "stand-in"


Unresolved = Literal["unresolved"]


class LockedFile(Frozen):
    """One URL and the bytes it must give; `unresolved` stops a build until somebody resolves it."""

    url: HttpUrl
    sha256: Sha256 | Unresolved
    size_bytes: int = Field(ge=0)
    replaces: Sha256 | None = Field(
        default=None, description="Hash that this unchanged URL had before: a person accepted that its bytes changed."
    )


class LockedUpdate(Frozen):
    """One QFE; without a URL the Windows Update agent fetches it by KB."""

    kb: KbNumber
    file: LockedFile | None = None
    build: str | None = None
    preview: bool = Field(default=False, description="True for an optional preview, which is not a security release.")
    checkpoint: bool = Field(
        default=False, description="True for a file that only lies beside a later update, which is a difference to it."
    )


class LockedBlob(Frozen):
    """A config or layer of a container image."""

    sha256: Sha256
    size_bytes: int = Field(ge=0)


class LockedContainerImage(Frozen):
    """A container image by tag and by digest (the index's where there is one, as the runtime records it)."""

    reference: ImageReference
    digest: str = Field(pattern=r"^(sha256:[0-9a-f]{64}|unresolved)$")
    manifest: str | None = Field(
        default=None, pattern=r"^sha256:[0-9a-f]{64}$", description="Digest of the manifest that a Windows host of the base's build takes."
    )
    os_version: str | None = Field(default=None, description="Windows version of that manifest; none fits every build.")
    size_bytes: int = Field(default=0, ge=0, description="Compressed size of what a Windows host of this build pulls.")
    blobs: tuple[LockedBlob, ...] = Field(
        default=(), description="Config and layers of that manifest, as far as its registry holds them; older locks name none."
    )


class LockedOciFile(Frozen):
    """One layer of an OCI artifact that carries a title."""

    title: str
    sha256: Sha256
    size_bytes: int = Field(ge=0)


class LockedOciArtifact(Frozen):
    """An OCI artifact by tag and digest, with its files."""

    reference: ImageReference
    digest: str = Field(pattern=r"^(sha256:[0-9a-f]{64}|unresolved)$")
    files: tuple[LockedOciFile, ...] = ()


class ImageLock(Frozen):
    """Everything a definition leaves open, pinned."""

    schema_version: Literal[1] = 1
    image: str
    origin: LockOrigin
    definition_sha256: Sha256 = Field(description="Hash of the definition's content (not of its comments) that was locked.")
    base_version: str = Field(pattern=r"^\d+\.\d+\.\d+$", description="Exact marketplace version.")
    updates: tuple[LockedUpdate, ...] = ()
    files: tuple[LockedFile, ...] = Field(default=(), description="Runtime and packages, in the definition's order, each URL once.")
    container_images: tuple[LockedContainerImage, ...] = ()
    oci_artifacts: tuple[LockedOciArtifact, ...] = ()
