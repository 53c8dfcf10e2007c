"""Fingerprints: what a layer's content depends on, as one SHA-256."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from pydantic import JsonValue

from images.definition import BaseImage
from images.errors import ConfigurationError

FINGERPRINT_SCHEMA: Final = 1
"""Raise it when the meaning of a fingerprint changes: every checkpoint is then made anew."""

SHARED_MODULE: Final = "WinVhd.psm1"
"""The module that every stage script imports."""

BUILD_SECURITY_TYPE: Final = "Standard"
"""Builds never run on a Trusted Launch VM: a managed image can not be made from one, and the twins share their layers."""

CACHE_SCHEME: Final = "cache:"
BLOCK_SCHEME: Final = "secret:"
FIX_SCHEME: Final = "fix:"
# The whole text: a file of an image may well begin with the word "secret:", and its content must count.
_TOKEN: Final = re.compile(f"{CACHE_SCHEME}[0-9a-f]{{64}}|{BLOCK_SCHEME}[a-z0-9-]+|{FIX_SCHEME}[a-z0-9-]+")


def is_token(text: str) -> bool:
    """True for a stand-in of a URL that only the run knows: cache:<sha256>, secret:<block> or fix:<block>."""
    return _TOKEN.fullmatch(text) is not None


def canonical(value: JsonValue) -> JsonValue:
    """An input without its tokens: beside each stands the content's own digest, and a secret's name says nothing about content."""
    if isinstance(value, list):
        return [canonical(item) for item in value]
    if isinstance(value, dict):
        return {key: canonical(item) for key, item in value.items() if not (isinstance(item, str) and is_token(item))}
    return value


def digest(value: JsonValue) -> str:
    """SHA-256 of a value's canonical JSON, in hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()).hexdigest()


def root_facts(base: BaseImage, exact_version: str, os_disk_gib: int) -> dict[str, JsonValue]:
    """What a build VM is before its first layer; V1 and V2 never share it, a gen2 image and its Trusted Launch twin do."""
    return {
        "schema": FINGERPRINT_SCHEMA,
        "publisher": base.publisher,
        "offer": base.offer,
        "sku": base.sku.lower(),
        "version": exact_version,
        "generation": base.generation.value,
        "security_type": BUILD_SECURITY_TYPE,
        "os_disk_gib": os_disk_gib,
    }


def script_digests(scripts: Mapping[str, bytes], used: Iterable[str]) -> dict[str, str]:
    """SHA-256 of each script that is used and of their shared module, by file name, sorted.

    Raises ConfigurationError when `scripts` lacks one of them.
    """
    digests: dict[str, str] = {}
    for name in sorted({*used, SHARED_MODULE}):
        if name not in scripts:
            raise ConfigurationError(f"the guest script {name} is missing", hint="restore infra/guest/scripts from the repository")
        digests[name] = hashlib.sha256(scripts[name]).hexdigest()
    return digests


def layer_fingerprint(
    parent: str, layer: str, stages: Sequence[tuple[str, dict[str, JsonValue], bool]], digests_of_scripts: Mapping[str, str]
) -> str:
    """The fingerprint of one layer from its parent's, its stages (name, input, restart after) and the digests of its scripts."""
    return digest(
        {
            "schema": FINGERPRINT_SCHEMA,
            "parent": parent,
            "layer": layer,
            "stages": [[name, canonical(given), restart] for name, given, restart in stages],
            "scripts": dict(digests_of_scripts),
        }
    )
