"""What `local up` started is found again, and nothing else is taken for it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from flows.cli.up_record import UpRecord, only_one, read_record
from images.errors import ConfigurationError
from infra.background import BackgroundProcess, start_process


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of the test's own."""
    monkeypatch.setenv("WINVHD_STATE", str(tmp_path))
    return tmp_path


def _sleeper(folder: Path, *words: str) -> BackgroundProcess:
    command = [sys.executable, "-c", "import time; time.sleep(60)", *words]
    return start_process("sleeper", command, log=folder / "log", environment={}, with_parent=True)


def test_a_started_part_is_found_again_and_ended(folder: Path) -> None:
    worker = _sleeper(folder, "worker")
    record = UpRecord(port=4242, registered="x")
    record.started("worker", worker)
    again = read_record()
    assert again == record
    assert (again.alive("worker"), again.alive("server")) == (True, False)
    assert again.api_url == "http://127.0.0.1:4242/api"
    assert again.stop("worker")
    assert not worker.alive()
    assert (read_record().pids, read_record().port) == ({}, 4242)


def test_a_pid_that_now_belongs_to_another_program_is_left_alone(folder: Path) -> None:
    other = _sleeper(folder, "something", "else")
    record = UpRecord()
    record.started("worker", other)
    assert not record.alive("worker")
    assert not record.stop("worker")
    assert other.alive()
    other.stop()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"pids": {"worker": "x"}, "port": 1, "registered": ""}', '{"pids": 3}'])
def test_a_record_that_can_not_be_read_is_an_empty_one(folder: Path, content: str) -> None:
    (folder / "up.json").write_text(content)
    assert read_record() == UpRecord()
    assert (read_record().api_url, read_record().ui_url) == ("", "")


def test_two_commands_at_once_are_refused() -> None:
    with only_one(), pytest.raises(ConfigurationError, match="at work"), only_one():
        pass
    with only_one():
        pass
