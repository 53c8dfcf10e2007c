"""Takes secrets out of text that people will read: error texts, progress lines, the guest's error stream."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from pydantic import BaseModel, JsonValue

REDACTED = "[redacted]"

# A SAS carries its signature in `sig`; what stands with it (sv, se, sp …) is of no use to a reader, so the whole query goes.
# https://learn.microsoft.com/rest/api/storageservices/create-service-sas lists the fields.
_SIGNED_QUERY = re.compile(r"""\?[^\s"'<>?]*\bsig(?:=|%3D)[^\s"'<>]*""", re.IGNORECASE)
_SIGNED_FIELDS = re.compile(r"""\b(?:[a-z]+=[^\s"'<>&]*&)*sig(?:=|%3D)[^\s"'<>]*""", re.IGNORECASE)
_URL_QUERY = re.compile(r"https?://[^\s?]+\?(\S+)", re.IGNORECASE)


class Redactor:
    """Replaces known secrets, and everything that looks like a shared access signature, known or not."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # The longest first: one secret may hold another.
        self._secrets = sorted({secret for secret in secrets if len(secret) >= 4}, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """The text without its secrets."""
        # Windows PowerShell 5.1's ConvertTo-Json writes & as \u0026.
        text = text.replace("\\u0026", "&")
        for secret in self._secrets:
            text = text.replace(secret, REDACTED)
        text = _SIGNED_QUERY.sub(f"?{REDACTED}", text)
        return _SIGNED_FIELDS.sub(REDACTED, text)


def url_queries(value: BaseModel) -> Iterator[str]:
    """The query string of every URL in a stage's input: in such an input it can only be a token."""
    yield from _queries(value.model_dump(mode="json"))


def _queries(value: JsonValue) -> Iterator[str]:
    if isinstance(value, str):
        found = _URL_QUERY.match(value)
        if found:
            yield found[1]
    elif isinstance(value, dict):
        for item in value.values():
            yield from _queries(item)
    elif isinstance(value, list):
        for item in value:
            yield from _queries(item)
