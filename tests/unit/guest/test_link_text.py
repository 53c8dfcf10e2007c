"""Error streams become readable, secrets become unreadable."""

from __future__ import annotations

import pytest

from images.frozen import Frozen
from infra.guest.clixml import readable
from infra.guest.redaction import Redactor, url_queries

HEAD = '#< CLIXML\r\n<Objs Version="1.1.0.1" xmlns="http://schemas.microsoft.com/powershell/2004/04">'
PROGRESS = (
    '<Obj S="progress" RefId="0"><TN RefId="0"><T>System.Object</T></TN><MS><PR N="Record"><AV>Preparing modules</AV></PR></MS></Obj>'
)


def test_clixml_errors_become_text_and_progress_goes() -> None:
    document = (
        f'{HEAD}{PROGRESS}<S S="Error">Get-Item : path &lt;x&gt; is wrong_x000D__x000A_</S><S S="Error">at line 1_x000D__x000A_</S></Objs>'
    )
    assert readable(document) == "Get-Item : path <x> is wrong\nat line 1"


def test_text_around_clixml_stays() -> None:
    text = f'curl: (23) write failed\r\n{HEAD}<S S="Error">boom_x000D__x000A_</S></Objs>\r\nlast words\r\n'
    assert readable(text) == "curl: (23) write failed\nboom\nlast words"


def test_tail_that_begins_inside_a_document_is_read() -> None:
    assert readable('rds</AV></PR></Obj><S S="Error">out of disk_x000A_</S></Objs>') == "out of disk"


def test_head_without_an_end_is_read() -> None:
    assert readable(f'{HEAD}<S S="Error">killed in mid-sentence_x000A_</S><S S="Err') == "killed in mid-sentence"


def test_plain_text_stays_as_it_is() -> None:
    assert readable("  a < b\n  c_x000A_d\n") == "a < b\n  c_x000A_d"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GET https://a/b?sv=1&se=2&sig=abc%3D HTTP", "GET https://a/b?[redacted] HTTP"),
        ("'https://a/b?sig=abc&sv=1'", "'https://a/b?[redacted]'"),
        (r"https://a/b?sv=1\u0026sig=abc", "https://a/b?[redacted]"),
        ("token sv=2024&sp=r&sig=abc.", "token [redacted]"),
        ("?SIG=abc", "?[redacted]"),
        ("design=modern and sig", "design=modern and sig"),
        ("https://a/b?version=1", "https://a/b?version=1"),
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
