"""Which versions of an image the marketplace has, and which one a definition means."""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus

from images.errors import CloudError
from infra.azure.refusals import HINTS, refusals
from infra.azure.session import Cloud

Version = tuple[int, ...]
_EXACT = re.compile(r"\d+\.\d+\.\d+")


def parse_version(text: str) -> Version:
    """20348.2762.241006 as integers: as strings, 20348.999 would be newer than 20348.2762. ValueError for anything else."""
    if not _EXACT.fullmatch(text):
        raise ValueError(f"not an image version: {text!r}")
    return tuple(int(part) for part in text.split("."))


def format_version(version: Version) -> str:
    """The version as Azure writes it."""
    return ".".join(str(part) for part in version)


def newest_first(texts: Iterable[str]) -> list[Version]:
    """The versions, newest first; names that are no versions are left out, since publishers also have others."""
    return sorted({parse_version(text) for text in texts if _EXACT.fullmatch(text)}, reverse=True)


def list_versions(cloud: Cloud, publisher: str, offer: str, sku: str) -> list[Version]:
    """The versions the profile's region offers, newest first; CloudError when the image does not exist."""
    try:
        with refusals(f"list versions of {publisher}:{offer}:{sku}"):
            found = cloud.compute.virtual_machine_images.list(cloud.profile.location, publisher, offer, sku)
    except CloudError as error:
        if error.status == HTTPStatus.NOT_FOUND:
            error.hint = HINTS["ImageNotFound"]
        raise
    return newest_first(image.name for image in found if image.name)


def choose_version(wanted: str, available: Iterable[Version]) -> Version | None:
    """The newest version that `latest`, a prefix (20348.*) or an exact version means, or None."""
    versions = sorted(available, reverse=True)
    if wanted == "latest":
        return versions[0] if versions else None
    parts = wanted.removesuffix(".*").split(".")
    prefix = tuple(int(part) for part in parts)
    if wanted.endswith(".*"):
        return next((version for version in versions if version[: len(prefix)] == prefix), None)
    return next((version for version in versions if version == prefix), None)


def resolve_version(cloud: Cloud, publisher: str, offer: str, sku: str, wanted: str) -> str:
    """The exact version to pin; CloudError with code PlatformImageNotFound and the nearest ones when there is none."""
    available = list_versions(cloud, publisher, offer, sku)
    chosen = choose_version(wanted, available)
    if chosen is None:
        newest = ", ".join(format_version(version) for version in available[:3]) or "none at all"
        raise CloudError(
            f"{publisher}:{offer}:{sku} has no version {wanted} in {cloud.profile.location}",
            code="PlatformImageNotFound",
            status=404,
            hint=f"the newest there: {newest}",
        )
    return format_version(chosen)
