"""A machine of the model on a real folder, and a real origin as its outside."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.local.contracts import BaseImageReference, OsProfile, Outside
from infra.local.faults import Fault, FaultPlan, FaultRule, Faults
from infra.local.guest.engine import ScriptContext
from infra.local.latency import LatencyProfile
from infra.local.machine.base import create_base_disk
from infra.local.machine.disk import MachineDisk
from infra.local.machine.engine import ModelEngine
from infra.local.machine.model import Machine
from infra.local.machine.sysprep import specialize
from infra.local.origin.request_log import RequestRecord, read_requests
from infra.local.origin.server import create_app
from tests.unit.local.origin.serving import serve

VERSIONS = {17763: "17763.4252.230801", 20348: "20348.5499.260809", 26100: "26100.33296.260809"}


@dataclass
class World:
    """The outside and what of it has to be locked."""

    gateway: str
    state: Path

    def lock(self, url: str) -> dict[str, Any]:
        """url, sha256 and size_bytes of a public URL."""
        content = httpx.get(Outside(self.gateway).route(url), headers={"User-Agent": "lock"}).raise_for_status().content
        return {"url": url, "sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}

    def image(self, reference: str) -> dict[str, str]:
        """reference and digest of a container image."""
        registry, _, rest = reference.partition("/")
        repository, _, tag = rest.rpartition(":")
        answer = httpx.head(f"{self.gateway}/{registry}/v2/{repository}/manifests/{tag}", headers={"User-Agent": "lock"})
        return {"reference": reference, "digest": answer.raise_for_status().headers["docker-content-digest"]}

    def guest_requests(self) -> list[RequestRecord]:
        """What guests asked for."""
        return [record for record in read_requests(self.state) if record.client.startswith("winvhd-guest/")]


@dataclass
class Outcome:
    """How a script ended."""

    exit_code: int
    lines: list[dict[str, Any]]
    stderr: str
    shutdowns: list[tuple[bool, float]]

    @property
    def last(self) -> dict[str, Any]:
        return self.lines[-1]

    @property
    def code(self) -> str:
        """The code of a failed script; fails the test for one that succeeded."""
        assert self.exit_code != 0
        assert self.last["event"] == "error"
        return str(self.last["code"])


@dataclass
class Box:
    """One machine that a test runs scripts on."""

    folder: Path
    world: World
    faults: Faults = field(default_factory=Faults)
    outbound_allowed: bool = True

    def __post_init__(self) -> None:
        self.engine = ModelEngine(Outside(self.world.gateway), self.faults, LatencyProfile())
        self.machine = self._start()

    def boot(self) -> None:
        """Start it again from what is on its disk, and nothing else."""
        self.machine.disk.save()
        self.machine = self._start()

    def _start(self) -> Machine:
        return self.engine.boot(MachineDisk.open(self.folder), boot_time=datetime.now(UTC), outbound_allowed=self.outbound_allowed)

    @property
    def disk(self) -> MachineDisk:
        return self.machine.disk

    def run(
        self,
        script: str,
        *,
        elevated: bool = True,
        run_id: str | None = None,
        stopped: bool = False,
        stop: threading.Event | None = None,
        **stage_input: Any,
    ) -> Outcome:
        """Run a script as the process layer does; `stop` ends it when it is set."""
        out: list[str] = []
        err: list[str] = []
        shutdowns: list[tuple[bool, float]] = []
        stop = stop or threading.Event()
        if stopped:
            stop.set()
        context = ScriptContext(
            machine=self.machine,
            elevated=elevated,
            stop_event=stop,
            emit_stdout=out.append,
            emit_stderr=err.append,
            shutdown=lambda restart, delay: shutdowns.append((restart, delay)),
            vm_id="/vms/box",
            run_id=run_id,
        )
        exit_code = self.engine.run(script, stage_input, context)
        return Outcome(exit_code, [json.loads(line) for line in out], "".join(err), shutdowns)

    def result(self, script: str, **stage_input: Any) -> dict[str, Any]:
        """The result line of a script that succeeds."""
        outcome = self.run(script, **stage_input)
        assert outcome.exit_code == 0, outcome
        assert outcome.last["event"] == "result"
        return outcome.last

    def strike(self, point: str, code: str, times: int | None = 1) -> None:
        """Let a fault strike from now on."""
        self.faults.replace(FaultPlan(rules=(FaultRule(point=point, fault=Fault(code=code), times=times),)))


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    state = tmp_path_factory.mktemp("origin")
    with serve(create_app(state)) as gateway:
        yield World(gateway, state)


@pytest.fixture
def make_box(tmp_path: Path, world: World) -> Callable[..., Box]:
    def make(build: int = 20348, size_gib: int = 35, *, outside: World | None = None) -> Box:
        folder = tmp_path / f"disk-{build}"
        base = BaseImageReference("MicrosoftWindowsServer", "WindowsServer", "core-smalldisk", VERSIONS[build], "V1")
        disk = create_base_disk(folder, base, size_gib)
        specialize(disk, OsProfile("box", "azureuser", "Secret-1"), datetime.now(UTC))
        disk.save()
        return Box(folder, outside or world)

    return make


@pytest.fixture
def box(make_box: Callable[..., Box]) -> Box:
    return make_box()
