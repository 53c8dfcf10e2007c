"""Error streams become readable."""

from __future__ import annotations

from infra.guest.clixml import readable

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
