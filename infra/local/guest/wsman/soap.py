"""SOAP envelopes of WS-Management: reading requests without entities or external references, writing answers.

Namespaces and header names: [MS-WSMV] section 2.2.1 and DSP0226 (WS-Management).
"""

from __future__ import annotations

import re
import uuid
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from typing import NoReturn
from xml.parsers import expat
from xml.sax.saxutils import escape

SOAP = "http://www.w3.org/2003/05/soap-envelope"
ADDRESSING = "http://schemas.xmlsoap.org/ws/2004/08/addressing"
TRANSFER = "http://schemas.xmlsoap.org/ws/2004/09/transfer"
WSMAN = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"
WSMV = "http://schemas.microsoft.com/wbem/wsman/1/wsman.xsd"
SHELL = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell"
CONFIG = "http://schemas.microsoft.com/wbem/wsman/1/config"
IDENTITY = "http://schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd"
ANONYMOUS = f"{ADDRESSING}/role/anonymous"
FAULT_ACTION = "http://schemas.dmtf.org/wbem/wsman/1/wsman/fault"
IDENTIFY_RESPONSE = f"{IDENTITY}/IdentifyResponse"
SHELL_RESOURCE = f"{SHELL}/cmd"
CONFIG_RESOURCE = CONFIG

DEFAULT_OPERATION_TIMEOUT_S = 60.0
"""What WinRM waits when a request names no OperationTimeout (winrm/config MaxTimeoutms, 60,000)."""
DEFAULT_ENVELOPE_BYTES = 153600
"""MaxEnvelopeSize when a request names none ([MS-WSMV] 2.2.4, 150 kB)."""
MINIMUM_ENVELOPE_BYTES = 8192

_DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?")


class MalformedEnvelope(ValueError):
    """The request is no XML, holds a document type, or is no SOAP envelope."""


@dataclass(frozen=True)
class Request:
    """One WS-Management request, with its header's values."""

    action: str
    resource_uri: str
    message_id: str
    body: ET.Element
    selectors: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    operation_timeout_s: float = DEFAULT_OPERATION_TIMEOUT_S
    max_envelope_bytes: int = DEFAULT_ENVELOPE_BYTES

    @property
    def identify(self) -> bool:
        """True for the Identify request, which has no action."""
        return self.body.find(f"{{{IDENTITY}}}Identify") is not None


def _refuse(*_arguments: object) -> NoReturn:
    raise MalformedEnvelope("document types are not allowed")


def parse_xml(document: bytes) -> ET.Element:
    """The root element of a document; raises MalformedEnvelope for bad XML and for anything with a document type (so: no entities)."""
    builder = ET.TreeBuilder()
    parser = expat.ParserCreate(namespace_separator="}")
    parser.buffer_text = True

    def name(raw: str) -> str:
        return f"{{{raw}" if "}" in raw else raw

    parser.StartDoctypeDeclHandler = _refuse
    parser.StartElementHandler = lambda tag, attributes: builder.start(name(tag), {name(key): value for key, value in attributes.items()})
    parser.EndElementHandler = lambda tag: builder.end(name(tag))
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(document, True)
    except expat.ExpatError as error:
        raise MalformedEnvelope(str(error)) from error
    return builder.close()


def duration_seconds(text: str) -> float:
    """Seconds of an ISO 8601 duration such as PT20S or PT1M0.5S; raises MalformedEnvelope for another text."""
    match = _DURATION.fullmatch(text.strip())
    if match is None or not any(match.groups()):
        raise MalformedEnvelope(f"not a duration: {text[:40]}")
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def parse_request(document: bytes) -> Request:
    """The request in an envelope; raises MalformedEnvelope."""
    root = parse_xml(document)
    body = root.find(f"{{{SOAP}}}Body")
    if root.tag != f"{{{SOAP}}}Envelope" or body is None:
        raise MalformedEnvelope("not a SOAP 1.2 envelope")
    header = root.find(f"{{{SOAP}}}Header")
    header = ET.Element("none") if header is None else header

    def text(namespace: str, tag: str) -> str:
        return (header.findtext(f"{{{namespace}}}{tag}") or "").strip()

    timeout, size = text(WSMAN, "OperationTimeout"), text(WSMAN, "MaxEnvelopeSize")
    if size and not size.isdigit():
        raise MalformedEnvelope("MaxEnvelopeSize is no number")
    return Request(
        action=text(ADDRESSING, "Action"),
        resource_uri=text(WSMAN, "ResourceURI"),
        message_id=text(ADDRESSING, "MessageID"),
        body=body,
        selectors={node.get("Name", ""): node.text or "" for node in header.iter(f"{{{WSMAN}}}Selector")},
        options={node.get("Name", "").upper(): (node.text or "").strip() for node in header.iter(f"{{{WSMAN}}}Option")},
        operation_timeout_s=duration_seconds(timeout) if timeout else DEFAULT_OPERATION_TIMEOUT_S,
        max_envelope_bytes=int(size) if size else DEFAULT_ENVELOPE_BYTES,
    )


def envelope(action: str, relates_to: str, body: str) -> bytes:
    """An answer: `body` is XML that may use the prefixes s, a, x, w, p, rsp, cfg."""
    relates = f"<a:RelatesTo>{escape(relates_to)}</a:RelatesTo>" if relates_to else ""
    return (
        f'<s:Envelope xml:lang="en-US" xmlns:s="{SOAP}" xmlns:a="{ADDRESSING}" xmlns:x="{TRANSFER}" xmlns:w="{WSMAN}" xmlns:p="{WSMV}" '
        f'xmlns:rsp="{SHELL}" xmlns:cfg="{CONFIG}"><s:Header><a:Action>{escape(action)}</a:Action>'
        f"<a:MessageID>uuid:{str(uuid.uuid4()).upper()}</a:MessageID><a:To>{ANONYMOUS}</a:To>{relates}</s:Header>"
        f"<s:Body>{body}</s:Body></s:Envelope>"
    ).encode()
