"""First contact: Azure's Run Command makes the guest ready for the link and brings back the one certificate that is trusted."""

from __future__ import annotations

import base64
import binascii
import secrets
import string
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from pydantic import SecretStr

from images.errors import BuildError, GuestLinkError, StageError
from images.stages.boot import ENABLE_REMOTING, RemotingResult
from infra.guest.clixml import readable
from infra.guest.endpoint import GuestEndpoint
from infra.guest.json_lines import StageOutput
from infra.guest.package import FIRST_CONTACT, SCRIPTS_FOLDER
from infra.redaction import Redactor

BUILD_ACCOUNT = "winvhd-build"
"""20 characters at most: the longest name of a local account."""

ATTEMPTS = 4
PAUSE_S = 15.0
PASSWORD_CHARACTERS = 48
# Three of four kinds satisfy Windows' complexity rule, and letters and digits need no quoting in any of the shells on the way.
# https://learn.microsoft.com/windows/security/threat-protection/security-policy-settings/password-must-meet-complexity-requirements
_ALPHABET = string.ascii_letters + string.digits
_KINDS = (string.ascii_uppercase, string.ascii_lowercase, string.digits)

_CONTACT_AGAIN = "make first contact again: run the build again"


class RunCommandOutput(Protocol):
    """What Run Command left: at most the last 4,096 bytes of each stream."""

    @property
    def state(self) -> str: ...
    @property
    def exit_code(self) -> int | None: ...
    @property
    def output(self) -> str: ...
    @property
    def error(self) -> str: ...


RunCommand = Callable[[str, Mapping[str, str], Mapping[str, SecretStr]], RunCommandOutput]
"""Runs a script's text with parameters and protected parameters in the guest; raises CloudError when Azure can not."""


def first_contact(
    run_command: RunCommand,
    address: str,
    port: int,
    *,
    account: str = BUILD_ACCOUNT,
    attempts: int = ATTEMPTS,
    pause_s: float = PAUSE_S,
    scripts: Path = SCRIPTS_FOLDER,
) -> GuestEndpoint:
    """The endpoint of a guest made ready for the link, with a fresh password and the certificate to pin.

    May be called again for the same guest: that is how another worker takes over. A stale answer (a restored disk brings the status of an
    older command) or none at all is asked again, `attempts` times in all. Raises GuestLinkError; CloudError comes through.
    """
    script = (scripts / FIRST_CONTACT).read_text(encoding="utf-8-sig")
    last: BuildError | None = None
    for attempt in range(attempts):
        if attempt:
            time.sleep(pause_s)
        password, nonce = new_password(), secrets.token_hex(16)
        outcome = run_command(
            script,
            {"address": address, "port": str(port), "account": account, "nonce": nonce},
            {"password": SecretStr(password)},
        )
        try:
            result = _result(outcome, nonce, Redactor([password]))
        except (StageError, GuestLinkError) as error:
            last = error
            continue
        return GuestEndpoint(
            address=address,
            port=result.port,
            certificate=pinned_certificate(result, address),
            thumbprint=result.thumbprint.upper(),
            account=account,
            password=SecretStr(password),
        )
    raise GuestLinkError(
        f"first contact failed {attempts} times; at last: {last.what if last else 'nothing was tried'}",
        where=f"{address}:{port}",
        hint=(last.hint if last else "") or "Run Command needs the VM agent and outbound access to port 443",
    ) from last


def new_password() -> str:
    """A random password of upper-case and lower-case letters and digits, some of each."""
    while True:
        password = "".join(secrets.choice(_ALPHABET) for _ in range(PASSWORD_CHARACTERS))
        if all(any(character in kind for character in password) for kind in _KINDS):
            return password


def pinned_certificate(result: RemotingResult, address: str) -> str:
    """The certificate as PEM; raises GuestLinkError unless it is a certificate for this address with the thumbprint that was named."""
    try:
        certificate = x509.load_der_x509_certificate(base64.b64decode(result.certificate, validate=True))
    except (binascii.Error, ValueError) as error:
        raise GuestLinkError("the guest's certificate can not be read", where=address, hint=_CONTACT_AGAIN) from error
    # SHA-1 is a name here, not a proof: Windows' certificate store names certificates by it.
    thumbprint = certificate.fingerprint(hashes.SHA1()).hex()  # noqa: S303
    if thumbprint != result.thumbprint.lower():
        raise GuestLinkError(
            f"the guest's certificate is {thumbprint}, not {result.thumbprint.lower()}", where=address, hint=_CONTACT_AGAIN
        )
    if address not in _names(certificate):
        raise GuestLinkError("the guest's certificate is not for the address that is dialled", where=address, hint=_CONTACT_AGAIN)
    return certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")


def _names(certificate: x509.Certificate) -> set[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    return {str(address) for address in names.get_values_for_type(x509.IPAddress)} | set(names.get_values_for_type(x509.DNSName))


def _result(outcome: RunCommandOutput, nonce: str, redact: Redactor) -> RemotingResult:
    if outcome.state == "TimedOut":
        raise GuestLinkError(
            "Run Command ran out of time", where=FIRST_CONTACT, hint="look at the VM's boot diagnostics: does the VM agent run?"
        )
    output = StageOutput(ENABLE_REMOTING, redact=redact)
    # Only the end of the output is kept, so its first line may be cut, and the agent adds lines of its own: the last one counts.
    output.feed(_last_line(outcome.output).encode())
    result = output.result(outcome.exit_code, redact(readable(outcome.error)))
    if not isinstance(result, RemotingResult):
        raise TypeError(f"{ENABLE_REMOTING.name} answered with {type(result).__name__}")
    if result.nonce != nonce:
        raise GuestLinkError("Run Command answered with the status of an older command", where=FIRST_CONTACT, hint=_CONTACT_AGAIN)
    return result


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
