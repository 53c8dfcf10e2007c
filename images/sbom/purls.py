"""Package URLs of what an image holds.

Types `generic` and `oci`: https://github.com/package-url/purl-spec, types/generic-definition.json and types/oci-definition.json.
"""

from __future__ import annotations

from packageurl import PackageURL


def file_purl(name: str, *, sha256: str, url: str = "", version: str = "") -> str:
    """The purl of a downloaded file: its checksum, and where it came from when that is public."""
    qualifiers = {"checksum": f"sha256:{sha256}"} | ({"download_url": url} if url else {})
    return PackageURL("generic", None, name, version or None, qualifiers).to_string()


def oci_purl(reference: str, digest: str) -> str:
    """The purl of a container image or OCI artifact, from registry/repository:tag and the digest of its manifest.

    >>> oci_purl("mcr.microsoft.com/oss/pause:3.10", "sha256:ab")
    'pkg:oci/pause@sha256:ab?repository_url=mcr.microsoft.com/oss/pause&tag=3.10'
    """
    repository, tag = split_tag(reference)
    qualifiers = {"repository_url": repository} | ({"tag": tag} if tag else {})
    return PackageURL("oci", None, repository.rpartition("/")[2].lower(), digest, qualifiers).to_string()


def split_tag(reference: str) -> tuple[str, str]:
    """(registry/repository, tag); the tag is empty when there is none, and a registry's port is no tag.

    >>> split_tag("localhost:5000/pause")
    ('localhost:5000/pause', '')
    """
    repository, colon, tag = reference.rpartition(":")
    return (repository, tag) if colon and "/" not in tag else (reference, "")
