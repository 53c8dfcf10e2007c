"""The faults WinRM answers with, with its own codes.

Codes: WSManError.h of the Windows SDK (ERROR_WSMAN_…, 0x80338000 onwards). Shape of a fault: [MS-WSMV] 2.2.4.43 WSManFault and the
recorded faults in pywinrm's own tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from infra.local.guest.wsman.soap import FAULT_ACTION, envelope

OPERATION_TIMED_OUT = 2150858793
SHELL_NOT_FOUND = 2150858843
INVALID_ACTION = 2150858753
INVALID_RESOURCE_URI = 2150858811
SCHEMA_VALIDATION = 2150858817
INVALID_XML = 2150858819
MINIMUM_ENVELOPE = 2150858878
REQUEST_TOO_LARGE = 2150859025
QUOTA_MAX_SHELLS = 2150859173
QUOTA_MAX_COMMANDS_PER_SHELL = 2150859241
OPERATION_ABORTED = 995
"""ERROR_OPERATION_ABORTED: the command was terminated while it was being read."""
BROKEN_PIPE = 109
"""ERROR_BROKEN_PIPE: input for a process whose standard input is closed."""
FAULT_DETAIL = "http://schemas.dmtf.org/wbem/wsman/1/wsman/faultDetail"


@dataclass
class WsmanFault(Exception):
    """An answer that is a fault; http_status is 500 except where HTTP.sys refuses before WinRM sees the request."""

    code: int
    side: str
    """Sender or Receiver."""
    subcode: str
    """Qualified name with the prefix w, a or x."""
    reason: str
    message: str = ""
    detail: str = ""
    http_status: int = 500

    def render(self, relates_to: str, machine: str) -> bytes:
        """The fault's envelope."""
        detail = f"<w:FaultDetail>{FAULT_DETAIL}/{self.detail}</w:FaultDetail>" if self.detail else ""
        return envelope(
            FAULT_ACTION,
            relates_to,
            f"<s:Fault><s:Code><s:Value>s:{self.side}</s:Value><s:Subcode><s:Value>{self.subcode}</s:Value></s:Subcode></s:Code>"
            f'<s:Reason><s:Text xml:lang="en-US">{escape(self.reason)}</s:Text></s:Reason><s:Detail>{detail}'
            f'<f:WSManFault xmlns:f="http://schemas.microsoft.com/wbem/wsman/1/wsmanfault" Code="{self.code}" Machine={quoteattr(machine)}>'
            f"<f:Message>{escape(self.message or self.reason)}</f:Message></f:WSManFault></s:Detail></s:Fault>",
        )


def timed_out() -> WsmanFault:
    """No output within OperationTimeout: the client asks again."""
    return WsmanFault(
        OPERATION_TIMED_OUT,
        "Receiver",
        "w:TimedOut",
        "The WS-Management service cannot complete the operation within the time specified in OperationTimeout.",
    )


def shell_not_found(shell_id: str) -> WsmanFault:
    """The shell was never there, or was deleted, or WinRM was restarted."""
    return _invalid_selectors(f"The Windows Remote Shell with ShellId {shell_id} was not found on the server.")


def command_not_found(command_id: str) -> WsmanFault:
    """The shell has no such command."""
    return _invalid_selectors(f"The command with CommandId {command_id} was not found in the shell.")


def _invalid_selectors(message: str) -> WsmanFault:
    return WsmanFault(
        SHELL_NOT_FOUND,
        "Sender",
        "w:InvalidSelectors",
        "The WS-Management service cannot process the request because the request contained invalid selectors for the resource.",
        message,
        "UnexpectedSelectors",
    )


def action_not_supported(action: str) -> WsmanFault:
    """An action that this endpoint does not know."""
    return WsmanFault(INVALID_ACTION, "Sender", "a:ActionNotSupported", "The action is not supported by the service.", f"Action: {action}")


def unknown_resource(uri: str) -> WsmanFault:
    """A resource URI without a provider."""
    return WsmanFault(
        INVALID_RESOURCE_URI,
        "Sender",
        "a:DestinationUnreachable",
        "The WS-Management service cannot process the request because the resource URI is not known.",
        f"Resource URI: {uri}",
        "InvalidResourceURI",
    )


def invalid_xml(message: str) -> WsmanFault:
    """The request could not be read."""
    return WsmanFault(INVALID_XML, "Sender", "w:SchemaValidationError", "The SOAP XML in the message is not valid.", message)


def schema_validation(message: str) -> WsmanFault:
    """The body is not what the action needs."""
    return WsmanFault(
        SCHEMA_VALIDATION, "Sender", "w:SchemaValidationError", "The SOAP XML in the message does not match the schema.", message
    )


def request_too_large(limit_bytes: int) -> WsmanFault:
    """The request is larger than MaxEnvelopeSizekb; HTTP.sys answers 413."""
    return WsmanFault(
        REQUEST_TOO_LARGE,
        "Sender",
        "w:EncodingLimit",
        f"The size of the request exceeded the configured MaxEnvelopeSize quota of {limit_bytes} bytes.",
        detail="MaxEnvelopeSizeExceeded",
        http_status=413,
    )


def envelope_minimum(minimum_bytes: int) -> WsmanFault:
    """MaxEnvelopeSize in the request is too small for any answer."""
    return WsmanFault(
        MINIMUM_ENVELOPE,
        "Sender",
        "w:EncodingLimit",
        f"MaxEnvelopeSize is below the smallest allowed value of {minimum_bytes} bytes.",
        detail="MinimumEnvelopeLimit",
    )


def quota_shells(limit: int) -> WsmanFault:
    """MaxShellsPerUser is reached."""
    return WsmanFault(
        QUOTA_MAX_SHELLS,
        "Receiver",
        "w:QuotaLimit",
        f"The maximum number of concurrent shells for this user ({limit}) has been exceeded.",
    )


def quota_commands(limit: int) -> WsmanFault:
    """MaxProcessesPerShell is reached."""
    return WsmanFault(
        QUOTA_MAX_COMMANDS_PER_SHELL,
        "Receiver",
        "w:QuotaLimit",
        f"The maximum number of concurrent commands for this shell ({limit}) has been exceeded.",
    )


def aborted() -> WsmanFault:
    """The command was terminated while its output was being waited for."""
    return WsmanFault(
        OPERATION_ABORTED,
        "Receiver",
        "w:InternalError",
        "The I/O operation has been aborted because of either a thread exit or an application request.",
    )


def input_closed() -> WsmanFault:
    """More input for a command that was told that its input has ended."""
    return WsmanFault(BROKEN_PIPE, "Receiver", "w:InternalError", "The pipe has been ended.")
