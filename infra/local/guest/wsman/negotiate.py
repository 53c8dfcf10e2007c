"""NTLM for a WinRM listener, alone or inside SPNEGO, as `Negotiate` headers carry it. pyspnego does the protocol.

A machine without a domain has no Kerberos, so Negotiate ends at NTLM. HTTP.sys vouches for a connection once it was authenticated: later
requests on it need no header ([MS-NTHT]; RFC 4559). The listener speaks HTTPS only, so clients do not encrypt messages on their own.
Channel bindings are not compared, as with winrm/config/service CbtHardeningLevel None.
"""

from __future__ import annotations

import base64
import binascii
import os
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import spnego
from spnego.exceptions import SpnegoError

from infra.local.guest.wsman.authentication import Verdict

_CREDENTIALS_VARIABLE = "NTLM_USER_FILE"
# The variable belongs to the process, so only one exchange at a time may take its step.
_STEP = threading.Lock()
_NO_LM_HASH = "0" * 32

Accounts = Callable[[], Mapping[str, bytes]]
"""The machine's accounts now: name -> NT hash."""


class NegotiateAuthentication:
    """The scheme; what it knows of passwords are the machine's own NT hashes."""

    name = "Negotiate"
    challenge = "Negotiate"

    def __init__(self, accounts: Accounts, computer_name: str) -> None:
        self._accounts = accounts
        self._computer_name = computer_name

    def open(self) -> _NegotiateExchange:
        """The state of a new connection."""
        return _NegotiateExchange(self._accounts, self._computer_name)


class _NegotiateExchange:
    def __init__(self, accounts: Accounts, computer_name: str) -> None:
        self._accounts = accounts
        self._computer_name = computer_name
        self._context: spnego.ContextProxy | None = None

    def step(self, token: str) -> Verdict:
        """The next token, or the account at the end; nothing for a wrong password and for what is no token."""
        try:
            received = base64.b64decode(token, validate=True)
            if not received:
                # pyspnego would take it for a wish that the server begins.
                return Verdict()
            with _STEP, _credential_file(self._accounts(), self._computer_name):
                if self._context is None:
                    # Python's own implementation: GSSAPI libraries of this machine must not play a part.
                    self._context = spnego.server(protocol="negotiate", options=spnego.NegotiateOptions.use_negotiate)
                answer = self._context.step(received)
        except (SpnegoError, binascii.Error, struct.error, ValueError, IndexError, KeyError):
            # struct.error and the following: how pyspnego fails on damaged tokens.
            return Verdict()
        sent = f"Negotiate {base64.b64encode(answer).decode('ascii')}" if answer else ""
        if not self._context.complete:
            return Verdict(answer=sent)
        principal = self._context.client_principal or ""
        return Verdict(principal.rpartition("\\")[2], sent, lasts=True)


@contextmanager
def _credential_file(accounts: Mapping[str, bytes], computer_name: str) -> Iterator[None]:
    """pyspnego's acceptor takes hashes from a file only, in the form of smbpasswd(5): give it one that exists in memory alone."""
    lines = (
        f"{domain}{name}:0:{_NO_LM_HASH}:{digest.hex().upper()}:[U]:LCT-0\n"
        for name, digest in accounts.items()
        for domain in ("", ".\\", f"{computer_name}\\")
    )
    descriptor = os.memfd_create("winvhd-ntlm", os.MFD_CLOEXEC)
    before = os.environ.get(_CREDENTIALS_VARIABLE)
    try:
        os.write(descriptor, "".join(lines).encode())
        os.environ[_CREDENTIALS_VARIABLE] = f"/proc/self/fd/{descriptor}"
        yield
    finally:
        if before is None:
            os.environ.pop(_CREDENTIALS_VARIABLE, None)
        else:
            os.environ[_CREDENTIALS_VARIABLE] = before
        os.close(descriptor)
