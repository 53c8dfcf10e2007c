"""Signing keys: Ed25519 or ECDSA on P-256, as PEM."""

from __future__ import annotations

import hashlib
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key, load_pem_public_key

from images.errors import ConfigurationError

MAKE_KEY: Final = "make one with: openssl genpkey -algorithm ed25519 -out key.pem && openssl pkey -in key.pem -pubout -out key.pub.pem"

PublicKey = Ed25519PublicKey | EllipticCurvePublicKey


class VerificationKey:
    """A public key that tells whether a signature is of its private half."""

    def __init__(self, key: PublicKey) -> None:
        self._key = key

    @classmethod
    def from_pem(cls, pem: bytes, *, where: str) -> VerificationKey:
        """The key in a PEM text; raises ConfigurationError when there is none of a kind that is used here."""
        try:
            key = load_pem_public_key(pem)
        except (ValueError, UnsupportedAlgorithm):
            # What the library says may show parts of the text.
            raise ConfigurationError(f"{where} holds no public key in PEM", hint=MAKE_KEY) from None
        if isinstance(key, Ed25519PublicKey) or (isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1)):
            return cls(key)
        raise ConfigurationError(f"{where} holds a key that is neither Ed25519 nor ECDSA on P-256", hint=MAKE_KEY)

    @property
    def key_id(self) -> str:
        """SHA-256 of the key's SubjectPublicKeyInfo (DER), in hexadecimal."""
        return hashlib.sha256(self._key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()

    def accepts(self, signature: bytes, content: bytes) -> bool:
        """True when the signature is of this key and this content; ECDSA signatures are in DER."""
        try:
            if isinstance(self._key, Ed25519PublicKey):
                self._key.verify(signature, content)
            else:
                self._key.verify(signature, content, ECDSA(SHA256()))
        except InvalidSignature:
            return False
        return True


class SigningKey:
    """A private key; it never shows itself in a text."""

    def __init__(self, key: Ed25519PrivateKey | EllipticCurvePrivateKey) -> None:
        self._key = key

    @classmethod
    def from_pem(cls, pem: bytes, *, where: str) -> SigningKey:
        """The key in a PEM text without a passphrase; raises ConfigurationError when there is none of a kind that is used here."""
        try:
            key = load_pem_private_key(pem, password=None)
        except TypeError:
            raise ConfigurationError(
                f"the signing key in {where} has a passphrase", hint="store it without one, readable for the build only"
            ) from None
        except (ValueError, UnsupportedAlgorithm):
            raise ConfigurationError(f"{where} holds no private key in PEM", hint=MAKE_KEY) from None
        if isinstance(key, Ed25519PrivateKey) or (isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP256R1)):
            return cls(key)
        raise ConfigurationError(f"the signing key in {where} is neither Ed25519 nor ECDSA on P-256", hint=MAKE_KEY)

    @property
    def public(self) -> VerificationKey:
        """Its public half."""
        return VerificationKey(self._key.public_key())

    def sign(self, content: bytes) -> bytes:
        """The signature of some content; of ECDSA in DER."""
        if isinstance(self._key, Ed25519PrivateKey):
            return self._key.sign(content)
        return self._key.sign(content, ECDSA(SHA256()))
