"""The key that this builder signs with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from images.errors import ConfigurationError
from infra.prefect.secret_blocks import secret_block
from infra.signing.keys import SigningKey, VerificationKey

KEY_FILE: Final = "WINVHD_SIGNING_KEY_FILE"
"""Environment variable: path of a private key in PEM."""

KEY_BLOCK: Final = "WINVHD_SIGNING_BLOCK"
"""Environment variable: name of a Prefect Secret block with a private key in PEM."""


def signing_key() -> SigningKey | None:
    """The configured key, or None when there is none; raises ConfigurationError when what is configured is not usable."""
    path, block = os.environ.get(KEY_FILE), os.environ.get(KEY_BLOCK)
    if path and block:
        raise ConfigurationError(f"both {KEY_FILE} and {KEY_BLOCK} name a signing key", hint="unset one of them")
    if path:
        return SigningKey.from_pem(_read(Path(path), "signing key"), where=path)
    if block:
        return SigningKey.from_pem(secret_block(block).get_secret_value().encode(), where=f"the Secret block {block}")
    return None


def public_key(path: Path) -> VerificationKey:
    """The public key in a PEM file; raises ConfigurationError when there is none."""
    return VerificationKey.from_pem(_read(path, "public key"), where=str(path))


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"can not read the {what} {path}: {error.strerror}", hint="check the path and its permissions") from None
