"""Takes secrets out of texts that Azure sends back, before they can reach a log or an error."""

from __future__ import annotations

import re

HIDDEN = "REDACTED"

# A SAS is the whole query of a URL: sig is the secret, the other fields tell what it opens. Azure's own error texts quote such URLs,
# e.g. CannotVerifyCopySource and the body of a failed Put Page From URL.
_URL_QUERY = re.compile(r"(https?://[^\s?\"'<>]+)\?[^\s\"'<>]*", re.IGNORECASE)
_SIGNATURE = re.compile(r"\b(sig|signature|accountkey|sharedaccesssignature)(=|%3d)[^&\s\"'<>;]+", re.IGNORECASE)
_AUTHORIZATION = re.compile(r"\b(bearer|sharedkey)\s+[A-Za-z0-9._~+/:=-]{8,}", re.IGNORECASE)


def redact(text: str) -> str:
    """The text without the query of any URL, without signatures, keys and bearer tokens."""
    text = _URL_QUERY.sub(rf"\1?{HIDDEN}", text)
    text = _SIGNATURE.sub(rf"\1\2{HIDDEN}", text)
    return _AUTHORIZATION.sub(rf"\1 {HIDDEN}", text)
