"""Ctrl-C and kill -9 leave no process behind, and nothing in the cloud that would stay there."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from images.errors import ConfigurationError
from infra.azure.session import Cloud, open_cloud
from infra.background import process_alive
from infra.checkout import ROOT
from infra.profiles import load_profile, start_stand_in
from tasks.release_resources import reap_expired
from tests.faults.conftest import bare, layered
from tests.flow_attempt import let_leases_run_out
from tests.standin_fixtures import command, write_definition

PATIENCE_S = 90.0


@dataclass
class RunningBuild:
    """`winvhd build` in a process group of its own, in the middle of its work, and all processes that it started."""

    process: subprocess.Popen[str]
    children: list[psutil.Process]

    def names(self) -> str:
        """Command lines of the children."""
        return " ".join(word for child in self.children for word in child.cmdline())

    def survivors(self) -> list[psutil.Process]:
        """The children that still run some time after the end."""
        deadline = time.monotonic() + PATIENCE_S
        while (alive := [child for child in self.children if process_alive(child.pid)]) and time.monotonic() < deadline:
            time.sleep(0.05)
        return alive


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of this test's own, so that the command starts everything itself."""
    monkeypatch.setenv("WINVHD_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("WINVHD_OUT", str(tmp_path / "out"))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    return tmp_path


@contextmanager
def running_build(definition: Path, until: str) -> Iterator[RunningBuild]:
    """A build that has just said `until`."""
    process = subprocess.Popen(
        command("build", str(definition)), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    assert process.stdout is not None
    try:
        seen = []
        for line in process.stdout:
            seen.append(line)
            if until in line:
                break
        else:
            pytest.fail("".join(seen))
        yield RunningBuild(process, psutil.Process(process.pid).children(recursive=True))
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@contextmanager
def cloud_again() -> Iterator[Cloud]:
    """The stand-in on the state that the build left."""
    process = start_stand_in(with_parent=True)
    try:
        with open_cloud(load_profile("local")) as cloud:
            yield cloud
    finally:
        process.stop()


def _groups(cloud: Cloud) -> list[str]:
    """All resource groups but that of the checkpoints, which stay."""
    names = (group.name or "" for group in cloud.resources.resource_groups.list())
    return sorted(name for name in names if not name.startswith("winvhd-checkpoints"))


def assert_stopped(build: RunningBuild) -> None:
    """The command ends soon as a cancelled one does, and nothing is left: no process, no resource."""
    output, _ = build.process.communicate(timeout=PATIENCE_S)
    assert build.process.returncode == 130, output
    assert "cancelled: stopped before the end" in output
    assert "delete the build's resources" in output
    assert "Traceback" not in output
    assert build.survivors() == []
    with cloud_again() as cloud:
        assert _groups(cloud) == []


def _busy_definition(folder: Path) -> Path:
    # With the bootstrap on the plain image a second guest is at work when the signal comes.
    return write_definition(folder, **bare("stopped", features=["Containers"], e2e_suites=["plain-bootstrap"]))


def test_ctrl_c_cleans_up_and_says_so(state: Path) -> None:
    with running_build(_busy_definition(state), "first contact (build VM)") as build:
        assert all(part in build.names() for part in ("infra.local", "azurite", "prefect server"))
        # As a terminal does: the whole process group gets it.
        os.killpg(build.process.pid, signal.SIGINT)
        assert_stopped(build)


def test_a_terminated_build_cleans_up_and_says_so(state: Path, prefect_api: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.settings import PREFECT_API_URL

    # A server that is there already is used, and stays.
    monkeypatch.setenv("PREFECT_API_URL", str(PREFECT_API_URL.value()))
    with running_build(_busy_definition(state), "first contact (build VM)") as build:
        assert "prefect" not in build.names()
        build.process.terminate()
        assert_stopped(build)


def test_a_build_whose_prefect_server_is_killed_leaves_nothing_and_goes_on_when_run_again(
    state: Path, run_command: Callable[..., subprocess.CompletedProcess[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Prefect's client asks a silent server again for a minute, each time.
    monkeypatch.setenv("PREFECT_CLIENT_MAX_RETRIES", "1")
    path = write_definition(state, **layered("serverless"))
    with running_build(path, "checkpoint os") as build:
        (server,) = [child for child in build.children if "server" in child.cmdline() and "prefect" in child.cmdline()]
        server.kill()
        output, _ = build.process.communicate(timeout=2 * PATIENCE_S)
        assert build.process.returncode == ConfigurationError.exit_code, output
        assert "the Prefect server does not answer any more" in output
        assert "delete the build's resources" in output
        assert "Traceback" not in output
        assert build.survivors() == []
    with cloud_again() as cloud:
        assert _groups(cloud) == []
    again = run_command("build", str(path))
    assert again.returncode == 0, again.stderr
    assert "layer os" in again.stderr
    assert "checkpoint os" not in again.stderr


def test_a_killed_build_leaves_no_process_and_what_it_made_is_reaped_at_its_expiry(
    state: Path, run_command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    path = write_definition(state, **bare("killed"))
    with running_build(path, "first contact (build VM)") as build:
        build.process.kill()
        build.process.wait()
        assert build.survivors() == []
    with cloud_again() as cloud:
        (left,) = _groups(cloud)
        assert left.startswith("winvhd-killed-")
        let_leases_run_out(cloud)
        again = run_command("build", str(path))
        assert again.returncode == 0, again.stderr
        assert reap_expired("local", lambda _: None) == []
        assert _groups(cloud) == [left]
        assert reap_expired("local", lambda _: None, now=datetime.now(UTC) + timedelta(hours=25)) == [left]
        deadline = time.monotonic() + PATIENCE_S
        while _groups(cloud):
            assert time.monotonic() < deadline
            time.sleep(0.05)
