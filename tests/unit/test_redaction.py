"""No secret of a URL, a header or a guest survives into a text, and the rest of the text does."""

from __future__ import annotations

import pytest

from images.frozen import Frozen
from infra.redaction import Redactor, redact, secret_parts, url_queries

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
    assert redact(text) == "The source https://acc.blob.core.windows.net/builds/a.vhd?[redacted] is missing; design=flat, assigned=yes"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GET https://a/b?sv=1&se=2&sig=abc%3D HTTP", "GET https://a/b?[redacted] HTTP"),
        ("'https://a/b?sig=abc&sv=1'", "'https://a/b?[redacted]'"),
        (r"https://a/b?sv=1\u0026sig=abc", "https://a/b?[redacted]"),
        ("token sv=2024&sp=r&sig=abc.", "token [redacted]"),
        ("?SIG=abc", "?[redacted]"),
        ("https://a/b is missing", "https://a/b is missing"),
        ("design=modern and sig", "design=modern and sig"),
        ("https://a/b?version=1", "https://a/b?[redacted]"),
    ],
)
def test_shared_access_signatures_go_and_the_rest_stays(text: str, expected: str) -> None:
    assert Redactor()(text) == expected


def test_known_secrets_go_longest_first() -> None:
    assert Redactor(["hunter2", "hunter2hunter2"])("a hunter2hunter2 b hunter2") == "a [redacted] b [redacted]"


class _File(Frozen):
    url: str
    path: str


class _Input(Frozen):
    files: tuple[_File, ...]


def test_queries_of_a_stages_urls_are_secrets() -> None:
    files = (_File(url="https://private/fix.msu?token=T0KEN", path=r"C:\a"), _File(url="https://public/x", path="C:\\?"))
    assert list(url_queries(_Input(files=files))) == ["token=T0KEN"]


@pytest.mark.parametrize(
    "text",
    [
        "GET https://secretaccount.blob.core.windows.net/fixes/windows10.0-kb%20private.msu?sv=1&sig=abc: HTTP 403",
        "https://secretaccount.blob.core.windows.net/fixes/windows10.0-kb%20private.msu: HTTP 403",
        "The remote name could not be resolved: 'secretaccount.blob.core.windows.net'",
        "installing windows10.0-kb%20private.msu",
        "installing windows10.0-kb private.msu",
        "/fixes/windows10.0-kb private.msu was not found",
    ],
)
def test_no_part_of_a_secret_address_is_left(text: str) -> None:
    url = "https://secretaccount.blob.core.windows.net/fixes/windows10.0-kb%20private.msu?sv=1&sig=abc"
    shown = Redactor(secret_parts(url))(text)
    for part in ("secretaccount", "kb", "private.msu", "fixes", "sig="):
        assert part not in shown


def test_short_parts_of_an_address_are_not_taken_for_secrets() -> None:
    # Of two letters even the file name is none.
    assert secret_parts("https://a.io/xz?s=1") == ("https://a.io/xz?s=1", "https://a.io/xz")


@pytest.mark.parametrize("name", ["a.msu", "fix", "a%20b"])
def test_the_file_name_is_a_secret_however_short_it_is(name: str) -> None:
    assert secret_parts(f"https://a.io/{name}?s=1")[-1] in {name, "a b"}
    shown = Redactor(secret_parts(f"https://a.io/{name}?s=1"))(f"installing {name}, or {name.replace('%20', ' ')}: done")
    assert shown == "installing [redacted], or [redacted]: done"
