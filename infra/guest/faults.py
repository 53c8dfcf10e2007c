"""What can go wrong between us and the guest, as typed errors that say whether asking again makes sense."""

from __future__ import annotations

import requests
import urllib3
from winrm.exceptions import InvalidCredentialsError, WinRMError, WinRMTransportError, WSManFaultError

from images.errors import GuestLinkError


class LinkLostError(GuestLinkError):
    """Nothing answers, or the answer broke off: a restart, a network that blinks. Asking again makes sense."""


class ShellLostError(LinkLostError):
    """The guest answers, but the shell is gone or must be renewed. Asking again in a new shell makes sense."""


class GuestSilentError(GuestLinkError):
    """The guest was asked again for as long as the limits allow, and nothing usable came."""


class LinkStoppedError(GuestLinkError):
    """The build was stopped, so nobody waits for the guest any more."""


class LinkRefusedError(GuestLinkError):
    """The guest, or something in its place, refuses for good: wrong certificate, wrong password. Asking again is of no use."""


class PasswordRefusedError(LinkRefusedError):
    """The guest does not take the account's password any more: it expired, or somebody made first contact. A new first contact helps."""


SHELL_NOT_FOUND = 2150858843
"""0x8033805B, seen after a restart of the guest or of its WinRM service."""
OPERATION_ABORTED = 995
"""Win32 ERROR_OPERATION_ABORTED: the WinRM service stops while a request waits."""
ACCESS_DENIED = 5
STDIN_CLOSED = (109, 232)
"""Win32 ERROR_BROKEN_PIPE and ERROR_NO_DATA: the process ended, or closed its input, before it had read everything."""
HTTP_TOO_LARGE = 413
QUOTAS = {
    # A text shell never gives back what it took of this quota, so the cure is a new shell (MS-WSMV, product behaviour of 3.1.4.12).
    2150859174: "operations per user (MaxConcurrentOperationsPerUser)",
    2150859173: "shells per user (MaxShellsPerUser)",
}
"""Faults of quotas; texts name the setting under WSMan:\\localhost."""


def link_error(error: BaseException, endpoint: str) -> GuestLinkError:
    """The typed error for what pywinrm, requests or urllib3 raised while talking to `endpoint`."""
    match error:
        case InvalidCredentialsError():
            return PasswordRefusedError(
                "the guest refuses the build account (401)",
                where=endpoint,
                hint="make first contact again: it sets a new password; a restored disk has an older one",
            )
        case WSManFaultError():
            return _fault(error, endpoint)
        case requests.exceptions.SSLError():
            return _certificate_error(error, endpoint)
        case _:
            what, hint = _lost(error)
            return LinkLostError(what, where=endpoint, hint=hint)


EXPECTED_FAILURES = (
    requests.exceptions.RequestException,
    urllib3.exceptions.HTTPError,
    WinRMError,
    WinRMTransportError,
    OSError,
    # pywinrm lets these through when an answer is cut or is not WS-Management (ElementTree's ParseError is a SyntaxError).
    SyntaxError,
    StopIteration,
    ValueError,
    KeyError,
    AttributeError,
    AssertionError,
)
"""What the libraries below raise when the line or the guest fails."""

_UNREACHABLE = "is the VM running, and does a network rule or proxy stand between?"
_EVENT_LOG = "the guest's event log Microsoft-Windows-WinRM/Operational may say why"


def _lost(error: BaseException) -> tuple[str, str]:
    match error:
        case WinRMTransportError():
            return f"the guest's WinRM answered HTTP {error.code}", ""
        case requests.exceptions.ConnectTimeout():
            return "the guest does not take the connection", _UNREACHABLE
        case requests.exceptions.ReadTimeout():
            return "the guest took the request and said nothing", "it may hang"
        case requests.exceptions.RequestException() | urllib3.exceptions.HTTPError() | OSError():
            return f"the connection to the guest failed: {_reason(error)}", _UNREACHABLE
        case _:
            # An answer that is no SOAP, or lacks what every answer has: it broke off, or something else answered.
            return f"the guest's answer is not usable: {type(error).__name__}", ""


def _fault(fault: WSManFaultError, endpoint: str) -> GuestLinkError:
    code = fault.wsman_fault_code or fault.wmierror_code or 0
    quota = QUOTAS.get(code) or QUOTAS.get(fault.wmierror_code or 0)
    if quota:
        return ShellLostError(f"the guest's quota of {quota} is used up", where=endpoint, hint="does something else use the guest's WinRM?")
    if code == SHELL_NOT_FOUND:
        return ShellLostError("the guest does not know the shell any more", where=endpoint, hint="it or its WinRM service restarted")
    if fault.code == HTTP_TOO_LARGE:
        return LinkRefusedError(
            "a request is larger than the guest allows", where=endpoint, hint="winrm get winrm/config: MaxEnvelopeSizekb"
        )
    if code == ACCESS_DENIED:
        return LinkRefusedError("the guest denies access", where=endpoint, hint="the build account must be in Administrators")
    reason = " ".join(fault.reason.split())[:300]
    return ShellLostError(f"WS-Management fault {code} ({fault.fault_subcode or 'no subcode'}): {reason}", where=endpoint, hint=_EVENT_LOG)


def _certificate_error(error: requests.exceptions.SSLError, endpoint: str) -> GuestLinkError:
    text = _reason(error)
    if "certificate verify failed" in text.lower() or "CERTIFICATE_VERIFY_FAILED" in text:
        return LinkRefusedError(
            f"what answers does not show the certificate that first contact pinned: {text}",
            where=endpoint,
            hint="another machine has taken the address, or something reads along; make first contact again",
        )
    # Handshakes that break off are SSLErrors too (UNEXPECTED_EOF_WHILE_READING), and a guest that goes down makes them.
    return LinkLostError(f"the TLS handshake broke off: {text}", where=endpoint, hint=_UNREACHABLE)


def _reason(error: BaseException) -> str:
    """The innermost cause in one line, without object addresses."""
    cause: BaseException = error
    while True:
        inner = getattr(cause, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((item for item in cause.args if isinstance(item, BaseException)), None)
        if inner is None:
            break
        cause = inner
    return " ".join(str(cause).split(">: ")[-1].split())[:300] or type(cause).__name__
