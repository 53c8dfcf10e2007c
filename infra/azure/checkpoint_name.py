"""Where a checkpoint is found: the names of its snapshot, its scope and its resource group, and the tags that say what is in it."""

from __future__ import annotations

import re
from datetime import datetime

from images.errors import ConfigurationError
from infra.azure.resource_group import group_name
from infra.azure.tags import BUILD_ID, CREATED_BY, CREATOR, EXPIRES_AT, SCOPE, format_time

PUBLIC = "public"
"""The scope of builds that anybody may see; a private build's is private-<id>."""

FINGERPRINT = "fingerprint"
LAYER = "layer"
IMAGE = "image"
LOCK_DIGEST = "lock_digest"

_GROUP = "checkpoints"
_NAME_DIGITS = 24
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_LAYER = re.compile(r"[a-z][a-z0-9-]{0,19}")
# At most 90 characters for a group's name, of which the prefix needs some.
_PRIVATE = re.compile(r"private-[a-z0-9][a-z0-9-]{0,39}")


def checkpoint_name(layer: str, location: str, fingerprint: str) -> str:
    """`ckpt-<layer>-<region>-<first 24 of fingerprint>`; ConfigurationError for what is no layer or no SHA-256 in hexadecimal.

    Azure takes 80 letters, digits, - and _ (https://learn.microsoft.com/rest/api/compute/snapshots/create-or-update).
    """
    if not _FINGERPRINT.fullmatch(fingerprint):
        raise ConfigurationError(f"{fingerprint[:80]!r} is not a fingerprint", hint="a fingerprint has 64 hexadecimal digits in lower case")
    if not _LAYER.fullmatch(layer):
        raise ConfigurationError(f"{layer[:80]!r} is not a layer's name", hint="up to 20 lower-case letters, digits and hyphens")
    return f"ckpt-{layer}-{location}-{fingerprint[:_NAME_DIGITS]}"


def checkpoint_group(prefix: str, scope: str) -> str:
    """The resource group of a scope's checkpoints: `<prefix>-checkpoints` for public ones, one of its own for each private scope.

    Raises ConfigurationError for what is no scope.
    """
    if scope == PUBLIC:
        return group_name(prefix, _GROUP)
    if not _PRIVATE.fullmatch(scope):
        raise ConfigurationError(
            f"{scope[:80]!r} is not a scope", hint=f"{PUBLIC}, or private-<id> of lower-case letters, digits and hyphens"
        )
    return group_name(prefix, f"{_GROUP}-{scope}")


def is_checkpoint_group(prefix: str, group: str) -> bool:
    """True for the group of some scope; Azure compares names of groups without regard to case."""
    public = group_name(prefix, _GROUP).lower()
    return group.lower() == public or group.lower().startswith(f"{public}-private-")


def checkpoint_tags(
    *, layer: str, fingerprint: str, scope: str, image: str, lock_digest: str, build_id: str, expires_at: datetime | None
) -> dict[str, str]:
    """The tags of a checkpoint's snapshot as Azure stores them; without expires_at it lives until retention takes it."""
    tags = {
        CREATED_BY: CREATOR,
        SCOPE: scope,
        BUILD_ID: build_id,
        LAYER: layer,
        FINGERPRINT: fingerprint,
        IMAGE: image,
        LOCK_DIGEST: lock_digest,
    }
    return tags | ({EXPIRES_AT: format_time(expires_at)} if expires_at is not None else {})


def group_tags(scope: str, expires_at: datetime | None) -> dict[str, str]:
    """The tags of a scope's group; a private one carries its expiry, at which the reaper takes it whole."""
    tags = {CREATED_BY: CREATOR, SCOPE: scope}
    return tags | ({EXPIRES_AT: format_time(expires_at)} if expires_at is not None else {})
