"""`winvhd local up` in folders of its own, once for all tests that look at the Prefect side."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psutil
import pytest

from infra.azure.profile import CloudProfile
from infra.checkout import ROOT
from infra.prefect.server import client_of, free_port
from tasks.build import build_id_for

ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
_IMAGE = "windows-2022-containerd"


@dataclass(frozen=True)
class Served:
    """The services of one state folder, and the commands and requests that a user makes of them."""

    folder: Path
    port: int

    def winvhd(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command on this folder, finished."""
        return subprocess.run(
            [str(Path(sys.executable).with_name("winvhd")), *arguments],
            cwd=ROOT,
            env={**os.environ, "WINVHD_STATE": str(self.folder / "state"), "WINVHD_OUT": str(self.folder / "out")},
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )

    @property
    def pids(self) -> dict[str, int]:
        """Pids of stand-in, server and worker."""
        found: dict[str, int] = json.loads((self.folder / "state" / "up.json").read_text())["pids"]
        return found

    @property
    def ui(self) -> str:
        """Address of the pages."""
        return f"http://127.0.0.1:{self.port}/v2"

    def get(self, path: str) -> Any:
        """What the API answers to GET."""
        with client_of(f"http://127.0.0.1:{self.port}/api") as client:
            return client.get(path).raise_for_status().json()

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """What the API answers to POST; raises httpx.HTTPStatusError with the refusal."""
        with client_of(f"http://127.0.0.1:{self.port}/api") as client:
            return client.post(path, json=body).raise_for_status().json()

    def deployment(self, name: str) -> dict[str, Any]:
        """A registered deployment."""
        found: dict[str, Any] = self.get(f"/deployments/name/{name}")
        return found

    def start_run(self, **parameters: str) -> str:
        """Id of a new run of build-image, as the form creates it."""
        deployment = self.deployment("build-image/build-image")
        created = self.post(f"/deployments/{deployment['id']}/create_flow_run", {"parameters": {"image": _IMAGE, **parameters}})
        return str(created["id"])

    def build_runs(self) -> set[str]:
        """Ids of all runs of build-image; the reaper's schedule makes runs as well."""
        return {str(run["id"]) for run in self.post("/flow_runs/filter", {"flows": {"name": {"any_": ["build-image"]}}})}

    def set_state(self, run_id: str, kind: str, name: str) -> str:
        """What the server says to a new state: ACCEPT, or why not."""
        return str(self.post(f"/flow_runs/{run_id}/set_state", {"state": {"type": kind, "name": name}})["status"])

    def wait_for(self, run_id: str, kinds: set[str], timeout_s: float = 90) -> dict[str, Any]:
        """The run, once its state is one of the kinds."""
        deadline = time.monotonic() + timeout_s
        while True:
            run: dict[str, Any] = self.get(f"/flow_runs/{run_id}")
            if run["state_type"] in kinds:
                return run
            assert run["state_type"] not in ENDED, run["state"]
            assert time.monotonic() < deadline, run["state"]
            time.sleep(0.2)

    def wait_for_log(self, run_id: str, text: str, timeout_s: float = 60) -> None:
        """Return once a line of the run's log holds the text."""
        deadline = time.monotonic() + timeout_s
        while not any(text in line for line in self.log(run_id)):
            assert time.monotonic() < deadline, self.log(run_id)
            time.sleep(0.2)

    def log(self, run_id: str) -> list[str]:
        """The lines of a run's log, oldest first."""
        wanted = {"logs": {"flow_run_id": {"any_": [run_id]}}, "sort": "TIMESTAMP_ASC", "limit": 200}
        lines: list[str] = []
        while page := self.post("/logs/filter", {**wanted, "offset": len(lines)}):
            lines += [line["message"] for line in page]
        return lines

    def artifacts(self, run_id: str) -> dict[str, dict[str, Any]]:
        """Artifacts of a run by what follows the image's name in their key; of several of one key the newest."""
        wanted = {"artifacts": {"flow_run_id": {"any_": [run_id]}}, "sort": "CREATED_DESC"}
        found = [artifact for artifact in self.post("/artifacts/filter", wanted) if artifact["key"]]
        return {artifact["key"].removeprefix(f"{_IMAGE}-"): artifact for artifact in reversed(found)}

    def build_folder(self, run_id: str, image: str = _IMAGE) -> Path:
        """Where the run's build leaves its files; the same for every attempt."""
        return self.folder / "out" / build_id_for(image, UUID(run_id))

    def resource_groups(self) -> list[str]:
        """Names of the resource groups in the stand-in cloud, without those of checkpoints, which stay."""
        described = json.loads((self.folder / "state" / "local" / "standin.json").read_text())
        profile = CloudProfile.model_validate(described["profile"])
        url = f"{profile.arm_endpoint}/subscriptions/{profile.subscription_id}/resourcegroups?api-version=2021-04-01"
        groups = httpx.get(url, timeout=30, trust_env=False).raise_for_status().json()["value"]
        return [group["name"] for group in groups if not group["name"].startswith("winvhd-checkpoints")]

    def processes(self) -> list[psutil.Process]:
        """Everything that runs with this state folder, by its environment or its command line."""
        found = []
        for process in psutil.process_iter():
            try:
                if str(self.folder) in " ".join([*process.environ().values(), *process.cmdline()]) and process.status() != "zombie":
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return [process for process in found if process.pid != os.getpid()]


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The services up; ended by `local down`, which must leave nothing."""
    served = Served(tmp_path_factory.mktemp("served"), free_port())
    try:
        up = served.winvhd("local", "up", "--port", str(served.port))
        assert up.returncode == 0, up.stderr
        assert f"{served.ui}/" in up.stderr
        yield served
    finally:
        down = served.winvhd("local", "down")
        left = [" ".join(process.cmdline()) for process in served.processes()]
    assert (down.returncode, left) == (0, []), down.stderr
