"""`winvhd local`: what is up stays up, what was killed comes back, and a build can be cancelled and retried from the browser."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

from tests.ui.conftest import Served


def test_second_up_changes_nothing(served: Served) -> None:
    before = served.pids
    again = served.winvhd("local", "up")
    assert (again.returncode, served.pids) == (0, before)
    assert f"already up: {served.ui}/" in again.stderr
    moved = served.winvhd("local", "up", "--port", str(served.port + 1))
    assert (moved.returncode, served.pids) == (6, before)
    assert "winvhd local down" in moved.stderr


def test_status_names_every_part_and_the_address(served: Served) -> None:
    status = served.winvhd("local", "status")
    assert status.returncode == 0
    assert all(f"{part:<9} running, pid {pid}\n" in status.stdout for part, pid in served.pids.items())
    assert f"{served.ui}/" in status.stdout


def test_port_in_use_is_refused_with_a_hint_and_nothing_is_left(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        elsewhere = Served(tmp_path, port)
        refused = elsewhere.winvhd("local", "up", "--port", str(port))
    assert refused.returncode == 6
    assert f"port {port} is in use" in refused.stderr
    assert f"--port {port + 1}" in refused.stderr
    assert elsewhere.processes() == []
    assert elsewhere.winvhd("local", "status").returncode == 1
    assert "nothing was up" in elsewhere.winvhd("local", "down").stderr


def test_build_on_the_command_line_uses_the_services_that_are_up(served: Served) -> None:
    before = served.build_runs()
    refused = served.winvhd("build", "windows-2022-containerd", "--copy-to", "nowhere/images")
    assert refused.returncode == 6, refused.stderr
    assert len(served.build_runs() - before) == 1
    assert served.winvhd("local", "status").returncode == 0


def test_run_survives_kill_cancel_and_retry_under_one_build_id(served: Served) -> None:
    run_id = served.start_run()
    served.wait_for(run_id, {"RUNNING"})
    served.wait_for_log(run_id, "first contact (build VM): built")
    engines = [process for process in served.processes() if "prefect.engine" in process.cmdline()]
    assert len(engines) == 1
    pids = served.pids
    for pid in (pids["worker"], pids["server"], engines[0].pid):
        os.kill(pid, signal.SIGKILL)
    status = served.winvhd("local", "status")
    assert status.returncode == 1
    assert "worker    not running" in status.stdout

    healed = served.winvhd("local", "up")
    assert healed.returncode == 0, healed.stderr
    assert "had lost its process" in healed.stderr
    assert served.pids["stand-in"] == pids["stand-in"]
    crashed = served.wait_for(run_id, {"CRASHED"})
    assert crashed["name"] == "build windows-2022-containerd on local"
    assert len(served.resource_groups()) == 1

    assert served.set_state(run_id, "SCHEDULED", "AwaitingRetry") == "ACCEPT"
    served.wait_for(run_id, {"RUNNING"})
    served.wait_for_log(run_id, "delete what an earlier attempt left: built")
    # `down` cancels as the UI's Cancel does: the same state, sent to the same server.
    down = served.winvhd("local", "down")
    assert "cancelling “build windows-2022-containerd on local”" in down.stderr
    assert (down.returncode, served.processes()) == (0, [])
    assert served.winvhd("local", "up").returncode == 0
    served.wait_for(run_id, {"CANCELLED"})
    assert served.resource_groups() == []
    assert served.artifacts(run_id)["progress"]["description"].endswith("; stopped")

    assert served.set_state(run_id, "SCHEDULED", "AwaitingRetry") == "ACCEPT"
    served.wait_for(run_id, {"COMPLETED"})
    assert (served.build_folder(run_id) / "e2e.xml").exists()
    assert served.artifacts(run_id)["progress"]["data"] == 100
    assert served.resource_groups() == []
