"""The key that this builder signs with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from images.errors import ConfigurationError
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
        return SigningKey.from_pem(_block(block), where=f"the Secret block {block}")
    return None


def public_key(path: Path) -> VerificationKey:
    """The public key in a PEM file; raises ConfigurationError when there is none."""
    return VerificationKey.from_pem(_read(path, "public key"), where=str(path))


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"can not read the {what} {path}: {error.strerror}", hint="check the path and its permissions") from None


def _block(name: str) -> bytes:
    from prefect.blocks.system import Secret

    try:
        block = Secret.load(name, _sync=True)  # type: ignore[call-arg]
    except ValueError:
        raise ConfigurationError(
            f"there is no Secret block called {name}", hint=f"make it in the Prefect UI, or unset {KEY_BLOCK}"
        ) from None
    if not isinstance(block, Secret):
        raise ConfigurationError(f"the block {name} is a {type(block).__name__}, not a Secret", hint="make a Secret block with the key")
    return str(block.get()).encode()
