"""Reads what powershell.exe writes to its error stream when nobody looks: CLIXML instead of text."""

from __future__ import annotations

import html
import re

# MS-PSRP 2.2.5 describes the serialization: <S S="Error">…</S> is one piece of text of that stream, progress comes as <Obj S="progress">.
# A tail may be cut in mid-document, so this looks for whole elements instead of parsing a document.
_TEXT = re.compile(r'<S S="(?P<stream>[A-Za-z]+)">(?P<text>.*?)</S>', re.DOTALL)
_ESCAPE = re.compile(r"_x([0-9A-Fa-f]{4})_")
_HEADER = "#< CLIXML"
_DOCUMENT = re.compile(r"(?:#< CLIXML\s*)?<Objs\b.*?(?:</Objs>|\Z)", re.DOTALL)
_CUT_DOCUMENT = re.compile(r"\A.*?</Objs>", re.DOTALL)


def readable(stderr: str) -> str:
    """The error stream as text: CLIXML decoded, progress records dropped, anything else kept as it is."""
    if _HEADER not in stderr and "<S S=" not in stderr and "<Objs" not in stderr:
        return stderr.strip()
    text = stderr
    first_start, first_end = text.find("<Objs"), text.find("</Objs>")
    if first_end >= 0 and (first_start < 0 or first_end < first_start):
        # The tail begins inside a document whose head was cut off.
        text = _CUT_DOCUMENT.sub(lambda match: _document_text(match[0]), text, count=1)
    text = _DOCUMENT.sub(lambda match: _document_text(match[0]), text)
    lines = (line.rstrip() for line in text.replace(_HEADER, "").splitlines())
    return "\n".join(line for line in lines if line.strip()).strip()


def _document_text(document: str) -> str:
    pieces = (_unescape(found["text"]) for found in _TEXT.finditer(document))
    return "".join(pieces)


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), html.unescape(text))
