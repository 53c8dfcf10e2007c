"""What a script may print and what happens when it prints something else."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from images.errors import StageError
from images.stages.contract import StageResult
from images.stages.finish import TEST_FREE_SPACE, FreeSpaceResult
from infra.guest.json_lines import Progress, StageOutput
from infra.redaction import Redactor

RESULT = b'{"event":"result","changed":false,"reboot_required":false,"free_bytes":12}\r\n'


def run(*pieces: bytes, exit_code: int | None = 0, stderr: str = "", max_line_bytes: int = 10_000) -> tuple[list[Progress], StageResult]:
    output = StageOutput(TEST_FREE_SPACE, max_line_bytes=max_line_bytes)
    progress = [event for piece in pieces for event in output.feed(piece)]
    return progress, output.result(exit_code, stderr)


def failure(*pieces: bytes, exit_code: int | None = 0, stderr: str = "") -> StageError:
    with pytest.raises(StageError) as caught:
        run(*pieces, exit_code=exit_code, stderr=stderr)
    return caught.value


def test_result_line_becomes_the_contracts_model() -> None:
    _, result = run(RESULT)
    assert result == FreeSpaceResult(changed=False, free_bytes=12)


def test_result_without_a_line_end_counts() -> None:
    _, result = run(RESULT.strip())
    assert isinstance(result, FreeSpaceResult)


def test_byte_order_mark_before_the_first_line_is_ignored() -> None:
    _, result = run(b"\xef\xbb\xbf" + RESULT)
    assert isinstance(result, FreeSpaceResult)


def test_progress_comes_as_soon_as_its_line_is_complete() -> None:
    output = StageOutput(TEST_FREE_SPACE)
    assert output.feed(b'{"event":"progress","message":"half') == []
    assert output.feed(b'","done":1,"total":2}\n{"event"') == [Progress(message="half", done=1, total=2)]
    assert not output.finished


@given(st.lists(st.text(max_size=20), max_size=8), st.integers(min_value=1, max_value=17))
def test_any_cut_of_the_bytes_gives_the_same_events(messages: list[str], size: int) -> None:
    lines = b"".join(json.dumps({"event": "progress", "message": text}, ensure_ascii=False).encode() + b"\n" for text in messages) + RESULT
    whole, result = run(lines)
    cut, cut_result = run(*(lines[start : start + size] for start in range(0, len(lines), size)))
    assert (whole, result) == (cut, cut_result)
    assert [event.message for event in whole] == messages


def test_thousand_progress_events_in_one_piece_all_arrive_in_order() -> None:
    lines = b"".join(b'{"event":"progress","message":"m","done":%d,"total":1000}\n' % number for number in range(1000))
    progress, _ = run(lines + RESULT)
    assert [event.done for event in progress] == list(range(1000))


@pytest.mark.parametrize(
    ("pieces", "exit_code", "code"),
    [
        ((b"Installing...\r\n", RESULT), 0, "not-json"),
        ((b"[1,2]\n", RESULT), 0, "unknown-event"),
        ((b'{"event":"done"}\n', RESULT), 0, "unknown-event"),
        ((b'{"event":"progress","message":5}\n', RESULT), 0, "bad-event"),
        ((b'{"event":"error","message":"no code"}\n', RESULT), 1, "bad-event"),
        ((b'{"event":"progress","message":"\xff\xfe"}\n', RESULT), 0, "not-utf-8"),
        ((b"x" * 20_000 + b"\n", RESULT), 0, "line-too-long"),
        ((b"[" * 5000 + b"\n", RESULT), 0, "not-json"),
        ((RESULT, RESULT), 0, "two-results"),
        ((), 0, "no-result"),
        ((), 3, "no-result"),
        ((), None, "no-result"),
        ((RESULT,), 1, "result-with-failure"),
        ((RESULT,), None, "result-with-failure"),
        ((b'{"event":"result","changed":false}\n',), 0, "bad-result"),
        ((b'{"event":"result","changed":false,"free_bytes":"12"}\n',), 0, "bad-result"),
        ((b'{"event":"result","changed":false,"free_bytes":12,"more":1}\n',), 0, "bad-result"),
    ],
)
def test_output_outside_the_contract_fails_the_stage(pieces: tuple[bytes, ...], exit_code: int | None, code: str) -> None:
    error = failure(*pieces, exit_code=exit_code)
    assert (error.code, error.stage, error.guest_exit_code) == (code, "test-free-space", exit_code)


def test_fifty_megabyte_line_is_not_kept_in_memory() -> None:
    output, piece = StageOutput(TEST_FREE_SPACE, max_line_bytes=2_000_000), b"x" * 1_000_000
    tracemalloc.start()
    try:
        for _ in range(50):
            output.feed(piece)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 10_000_000
    output.feed(b"\n" + RESULT)
    with pytest.raises(StageError, match="more than 2000000 bytes"):
        output.result(0, "")


def test_bad_result_names_the_field() -> None:
    assert "free_bytes: Field required" in failure(b'{"event":"result","changed":false}\n').what


def test_error_line_gives_its_code_and_message_whatever_else_was_printed() -> None:
    error = failure(b"chatter\n", b'{"event":"error","code":"disk-full","message":"0 bytes left"}\n', exit_code=1, stderr="curl: (23)")
    assert (error.code, error.what, error.stderr_tail) == ("disk-full", "0 bytes left", "curl: (23)")
    assert "os_disk_gib" in error.hint


def test_first_of_two_error_lines_counts() -> None:
    first, second = (b'{"event":"error","code":"%s","message":"m"}\n' % code for code in (b"hash-mismatch", b"disk-full"))
    assert failure(first, second, exit_code=1).code == "hash-mismatch"


def test_missing_result_shows_the_scripts_last_words() -> None:
    assert "Access is denied." in failure(exit_code=5, stderr="line\r\nAccess is denied.\r\n\r\n").hint


def test_signed_urls_reach_neither_progress_nor_error() -> None:
    output = StageOutput(TEST_FREE_SPACE, redact=Redactor())
    url = r"https://a.blob.core.windows.net/c/f?sv=2024-11-04\u0026sig=SECRETSECRET%3D"
    lines = f'{{"event":"progress","message":"get {url}"}}\nGET {url}\n'.encode()
    assert [event.message for event in output.feed(lines)] == ["get https://a.blob.core.windows.net/c/f?[redacted]"]
    with pytest.raises(StageError) as caught:
        output.result(1, f"failed: {url}")
    assert "SECRET" not in repr(caught.value.__dict__) + str(caught.value)
