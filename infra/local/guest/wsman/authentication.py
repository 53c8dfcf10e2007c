"""Who is calling: HTTP authentication of a WinRM listener, as a plug so that other schemes can stand beside Basic."""

from __future__ import annotations

import base64
import binascii
import hashlib
import threading
from collections.abc import Callable, Sequence
from typing import Protocol


class Authentication(Protocol):
    """One HTTP authentication scheme."""

    @property
    def challenge(self) -> str:
        """The value of WWW-Authenticate that offers this scheme."""
        ...

    def authenticate(self, authorization: str) -> str | None:
        """The account behind an Authorization header, or None when the header is not of this scheme or the credentials are wrong."""
        ...


class BasicAuthentication:
    """Basic over TLS against the machine's accounts; a good pair is remembered as a digest, since each request brings it again."""

    challenge = 'Basic realm="WSMAN"'

    def __init__(self, check: Callable[[str, str], bool], computer_name: str) -> None:
        self._check = check
        self._computer_name = computer_name.lower()
        self._known: dict[bytes, str] = {}
        self._lock = threading.Lock()

    def authenticate(self, authorization: str) -> str | None:
        """The local account's name; domains other than this computer's are unknown to it."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            decoded = base64.b64decode(token, validate=True)
        except binascii.Error:
            return None
        digest = hashlib.sha256(decoded).digest()
        with self._lock:
            if digest in self._known:
                return self._known[digest]
        # requests sends latin-1, others UTF-8 (RFC 7617 leaves it open).
        text = decoded.decode("utf-8") if _is_utf8(decoded) else decoded.decode("latin-1")
        user, _, password = text.partition(":")
        domain, separator, name = user.rpartition("\\")
        if separator and domain.lower() not in (".", self._computer_name):
            return None
        if not self._check(name, password):
            return None
        with self._lock:
            self._known[digest] = name
        return name


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def authenticate(schemes: Sequence[Authentication], authorization: str) -> str | None:
    """The account that one of the schemes recognises, or None."""
    return next((account for scheme in schemes if (account := scheme.authenticate(authorization))), None)
