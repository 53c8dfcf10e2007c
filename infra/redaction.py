"""Takes secrets out of text that people will read: error texts of Azure and of guests, progress lines, a guest's error stream and logs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, JsonValue

HIDDEN = "[redacted]"

# A SAS is the whole query of a URL: sig is the secret, the other fields tell what it opens; other tokens may look like any query.
# Azure's own error texts quote such URLs, e.g. CannotVerifyCopySource and the body of a failed Put Page From URL.
# https://learn.microsoft.com/rest/api/storageservices/create-service-sas lists the fields.
_URL_QUERY = re.compile(r"""(https?://[^\s?"'<>]+)\?[^\s"'<>]*""", re.IGNORECASE)
_SIGNED_QUERY = re.compile(r"""\?[^\s"'<>?]*\bsig(?:=|%3D)[^\s"'<>]*""", re.IGNORECASE)
_SIGNED_FIELDS = re.compile(r"""\b(?:[a-z]+=[^\s"'<>&]*&)*sig(?:=|%3D)[^\s"'<>]*""", re.IGNORECASE)
_KEY_FIELD = re.compile(r"""\b(signature|accountkey|sharedaccesssignature)(=|%3D)[^&\s"'<>;]+""", re.IGNORECASE)
_AUTHORIZATION = re.compile(r"\b(bearer|sharedkey)\s+[A-Za-z0-9._~+/:=-]{8,}", re.IGNORECASE)
_QUERY_OF_URL = re.compile(r"https?://[^\s?]+\?(\S+)", re.IGNORECASE)


class Redactor:
    """Replaces known secrets, and whatever looks like a signature, an account key or a bearer token, known or not."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # The longest first: one secret may hold another.
        self._secrets = sorted({secret for secret in secrets if len(secret) >= 3}, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """The text without its secrets and without the query of any URL."""
        # Windows PowerShell 5.1's ConvertTo-Json writes & as \u0026.
        text = text.replace("\\u0026", "&")
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        text = _URL_QUERY.sub(rf"\1?{HIDDEN}", text)
        text = _SIGNED_QUERY.sub(f"?{HIDDEN}", text)
        text = _SIGNED_FIELDS.sub(HIDDEN, text)
        text = _KEY_FIELD.sub(rf"\1\2{HIDDEN}", text)
        return _AUTHORIZATION.sub(rf"\1 {HIDDEN}", text)


redact = Redactor()
"""For texts of whose secrets nothing is known beforehand."""


def secret_parts(url: str) -> tuple[str, ...]:
    """The texts that give a secret URL away: all of it, without its query, the query, the host, the path and the file name.

    Parts under six characters are left out, and file names under three: as words they would be taken out of innocent texts.
    """
    parts = urlsplit(url)
    name = parts.path.rpartition("/")[2]
    texts = (url, url.partition("?")[0], parts.query, parts.netloc, parts.hostname or "", parts.path, unquote(parts.path))
    long_enough = (*(text for text in texts if len(text) >= 6), *(text for text in (name, unquote(name)) if len(text) >= 3))
    return tuple(dict.fromkeys(long_enough))


def url_queries(value: BaseModel) -> Iterator[str]:
    """The query string of every URL in a stage's input: in such an input it can only be a token."""
    yield from _queries(value.model_dump(mode="json"))


def _queries(value: JsonValue) -> Iterator[str]:
    if isinstance(value, str):
        found = _QUERY_OF_URL.match(value)
        if found:
            yield found[1]
    elif isinstance(value, dict):
        for item in value.values():
            yield from _queries(item)
    elif isinstance(value, list):
        for item in value:
            yield from _queries(item)
