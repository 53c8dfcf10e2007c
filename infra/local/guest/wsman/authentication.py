"""Who is calling: HTTP authentication of a WinRM listener. Schemes are plugs; an exchange is one scheme's state on one connection."""

from __future__ import annotations

import base64
import binascii
import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Verdict:
    """What became of an Authorization header."""

    account: str = ""
    """The local account's name; empty for somebody who is not known (yet)."""
    answer: str = ""
    """A value for WWW-Authenticate that carries the exchange on, or ends it."""
    lasts: bool = False
    """True when every later request of the same connection is this account's, too."""


class Exchange(Protocol):
    """One scheme on one connection."""

    def step(self, token: str) -> Verdict:
        """What to make of a header's part behind the scheme's name."""
        ...


class Authentication(Protocol):
    """One HTTP authentication scheme."""

    @property
    def name(self) -> str:
        """The scheme's name in an Authorization header."""
        ...

    @property
    def challenge(self) -> str:
        """The value of WWW-Authenticate that offers this scheme."""
        ...

    def open(self) -> Exchange:
        """The scheme's state for a new connection."""
        ...


class BasicAuthentication:
    """Basic over TLS against the machine's accounts; a good pair is remembered as a digest, since each request brings it again."""

    name = "Basic"
    challenge = 'Basic realm="WSMAN"'

    def __init__(self, check: Callable[[str, str], bool], computer_name: str) -> None:
        self._check = check
        self._computer_name = computer_name.lower()
        self._known: dict[bytes, str] = {}
        self._lock = threading.Lock()

    def open(self) -> BasicAuthentication:
        """Itself: Basic keeps nothing of a connection."""
        return self

    def step(self, token: str) -> Verdict:
        """The local account of a pair of name and password; domains other than this computer's are unknown to it."""
        try:
            decoded = base64.b64decode(token, validate=True)
        except binascii.Error:
            return Verdict()
        digest = hashlib.sha256(decoded).digest()
        with self._lock:
            if digest in self._known:
                return Verdict(self._known[digest])
        # requests sends latin-1, others UTF-8 (RFC 7617 leaves it open).
        text = decoded.decode("utf-8") if _is_utf8(decoded) else decoded.decode("latin-1")
        user, _, password = text.partition(":")
        domain, separator, name = user.rpartition("\\")
        if separator and domain.lower() not in (".", self._computer_name):
            return Verdict()
        if not self._check(name, password):
            return Verdict()
        with self._lock:
            self._known[digest] = name
        return Verdict(name)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


class Caller:
    """Who speaks on one connection: remembers an exchange that goes on, and an account whose scheme vouches for the connection."""

    def __init__(self, schemes: Sequence[Authentication]) -> None:
        self._schemes = schemes
        self._exchanges: dict[str, Exchange] = {}
        self._account = ""

    def identify(self, authorization: str) -> Verdict:
        """The account behind a request; a request without header is the account's that this connection was authenticated for."""
        name, _, token = authorization.partition(" ")
        if not name:
            return Verdict(self._account)
        self._account = ""
        scheme = next((scheme for scheme in self._schemes if scheme.name.lower() == name.lower()), None)
        if scheme is None:
            return Verdict()
        # A failed or finished exchange can not go on: the next header of the scheme begins a new one.
        exchange = self._exchanges.pop(scheme.name, None) or scheme.open()
        verdict = exchange.step(token.strip())
        if verdict.answer and not verdict.account:
            self._exchanges[scheme.name] = exchange
        if verdict.lasts:
            self._account = verdict.account
        return verdict

    def challenges(self, verdict: Verdict) -> tuple[str, ...]:
        """The WWW-Authenticate values of a 401: the exchange's next token, or everything that is offered."""
        return (verdict.answer,) if verdict.answer else tuple(scheme.challenge for scheme in self._schemes)
