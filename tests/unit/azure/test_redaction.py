"""No secret of a URL or header survives into a text."""

from __future__ import annotations

import pytest

from infra.azure.redaction import redact

SECRET = "dGhpc0lzU2VjcmV0"


@pytest.mark.parametrize(
    "text",
    [
        f"copy source https://acc.blob.core.windows.net/builds/a/image.vhd?sv=2026-01-01&sr=b&sig={SECRET}%3D failed",
        f"<CopySource>https://acc.blob.core.windows.net/c/b?sig={SECRET}&amp;se=2026</CopySource>",
        f'"accessSAS": "https://md-x.blob.storage.azure.net/a/abcd?sv=1&sig={SECRET}"',
        f"se=2026-01-01&sig={SECRET}&sp=r",
        f"sig%3D{SECRET}",
        f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey={SECRET};EndpointSuffix=x",
        f"Authorization: Bearer {SECRET}.{SECRET}",
        f"Authorization: SharedKey account:{SECRET}",
        f"HTTPS://HOST/path?SIG={SECRET}",
    ],
)
def test_secrets_are_taken_out(text: str) -> None:
    assert SECRET not in redact(text)


def test_the_rest_of_the_text_stays() -> None:
    text = "The source https://acc.blob.core.windows.net/builds/a.vhd?sig=abc is missing; design=flat, assigned=yes"
    assert redact(text) == "The source https://acc.blob.core.windows.net/builds/a.vhd?REDACTED is missing; design=flat, assigned=yes"
