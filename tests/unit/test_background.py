"""Background processes are ended by pid, end with their parent, and explain themselves when they do not come up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from images.errors import ConfigurationError
from infra.background import BackgroundProcess, process_alive, start_process, wait_until_ready
from infra.checkout import ROOT

SLEEP = (sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)")
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


def _start(tmp_path: Path, *command: str, **environment: str) -> BackgroundProcess:
    return start_process("the helper", command, log=tmp_path / "logs" / "helper.log", environment=environment, with_parent=True)


def _says(process: BackgroundProcess, word: str) -> bool:
    return word in process.log.read_text()


def _wait_for_end(pid: int) -> None:
    deadline = time.monotonic() + 10
    while process_alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_process_runs_in_the_background_and_ends_when_it_is_stopped(tmp_path: Path) -> None:
    process = _start(tmp_path, *SLEEP)
    wait_until_ready(process, lambda: _says(process, "up"), timeout_s=20)
    assert process.alive()
    assert process_alive(process.pid)
    process.stop()
    assert not process.alive()
    assert not process_alive(process.pid)
    process.stop()


def test_a_process_that_ignores_the_request_is_killed(tmp_path: Path) -> None:
    process = _start(tmp_path, sys.executable, "-c", STUBBORN)
    wait_until_ready(process, lambda: _says(process, "up"), timeout_s=20)
    process.stop(timeout_s=0.1)
    assert not process.alive()


def test_a_process_of_an_earlier_command_can_be_stopped_by_its_pid_alone(tmp_path: Path) -> None:
    process = _start(tmp_path, *SLEEP)
    wait_until_ready(process, lambda: _says(process, "up"), timeout_s=20)
    recorded = BackgroundProcess("the helper", process.pid, process.log)
    assert recorded.alive()
    recorded.stop()
    assert not recorded.alive()
    assert not process.alive()


def test_environment_reaches_the_process_and_its_errors_reach_the_log(tmp_path: Path) -> None:
    program = "import os, sys, time; print(os.environ['WORD'], file=sys.stderr, flush=True); time.sleep(60)"
    process = _start(tmp_path, sys.executable, "-c", program, WORD="xyzzy")
    try:
        wait_until_ready(process, lambda: _says(process, "xyzzy"), timeout_s=20)
    finally:
        process.stop()


def test_a_process_that_ends_at_once_is_explained_with_its_last_words(tmp_path: Path) -> None:
    process = _start(tmp_path, sys.executable, "-c", "import sys; sys.exit('no such database')")
    with pytest.raises(ConfigurationError, match="the helper ended at once\nno such database") as caught:
        wait_until_ready(process, lambda: False, timeout_s=20)
    assert str(process.log) in caught.value.hint


def test_a_process_that_never_gets_ready_is_ended(tmp_path: Path) -> None:
    process = _start(tmp_path, *SLEEP)
    with pytest.raises(ConfigurationError, match="was not ready after"):
        wait_until_ready(process, lambda: False, timeout_s=0.2)
    assert not process.alive()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_no_child_outlives_a_parent_that_was_killed(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from infra.background import start_process\n"
        "child = start_process('child', [sys.executable, '-c', 'import time; time.sleep(60)'],"
        " log=Path(sys.argv[1]), environment={}, with_parent=True)\n"
        "print(child.pid, flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "child.log")], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert process_alive(child)
        parent.kill()
        parent.wait()
    _wait_for_end(child)


def test_a_zombie_is_not_alive() -> None:
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", "pass"], dict(os.environ))
    try:
        _wait_for_end(pid)
        os.kill(pid, 0)
    finally:
        os.waitpid(pid, 0)
    assert not process_alive(pid)


@pytest.mark.parametrize("pid", [0, -1])
def test_a_group_of_processes_is_no_process(tmp_path: Path, pid: int) -> None:
    assert not process_alive(pid)
    before = signal.signal(signal.SIGTERM, lambda *_: pytest.fail("the test's own process was signalled"))
    try:
        BackgroundProcess("nobody", pid, tmp_path / "log").stop()
    finally:
        signal.signal(signal.SIGTERM, before)
