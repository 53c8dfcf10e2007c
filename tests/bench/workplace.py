"""Where a benchmark runs: a stand-in of its own with a latency profile, a Prefect API, folders for state and results."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from images.loading import load_definition, read_uploads
from images.plan import make_plan
from infra.azure.session import open_cloud
from infra.background import BackgroundProcess
from infra.guest.package import guest_scripts
from infra.local.latency import LatencyProfile, load_latency
from infra.profiles import load_profile, start_stand_in, wait_for_deletions
from tasks.progress import StepEvent, listening
from tasks.resolve_lock import resolve_lock
from tests.bench.critical_path import Image

LATENCY = Path(__file__).with_name("latency") / "azure-minutes.yaml"
NOTHING_WRONG: dict[str, Any] = {"rules": []}
SYSPREP_STUCK_ONCE = {"rules": [{"point": "guest.sysprep", "fault": {"code": "stuck"}, "times": 1}]}


@dataclass(frozen=True)
class TimedStep:
    """A step of a build: seconds since the build began."""

    name: str
    starts_at: float
    ends_at: float


@dataclass
class Run:
    """One measured run: seconds, its steps, and how many operations of each kind the cloud accepted for it."""

    seconds: float = 0.0
    steps: list[TimedStep] = field(default_factory=list)
    operations: dict[str, int] = field(default_factory=dict)
    result: Any = None
    error: str = ""


@dataclass
class Workplace:
    """A folder with a stand-in's state, used by one process at a time."""

    folder: Path
    latency: LatencyProfile
    images: dict[Path, Image] = field(default_factory=dict)
    _process: BackgroundProcess | None = None

    def prepare(self, definitions: Sequence[Path]) -> None:
        """Lock every definition, without any latency: in life a lock is committed beside its definition."""
        with self._serving(0.0):
            for path in dict.fromkeys(definitions):
                self.images[path] = self._lock(path)

    @contextmanager
    def serving(self) -> Iterator[None]:
        """The stand-in runs with its latency."""
        with self._serving(self.latency.scale):
            yield

    def measure(self, action: Callable[[], Any], *, locked: Sequence[Path] = ()) -> Run:
        """Run an action with the locks of these definitions in place; an error of ours is part of what is measured."""
        from images.errors import BuildError

        for path in locked:
            shutil.copyfile(self._kept(path), self._lock_file(path))
        run = Run()
        before = self._started()
        begun: dict[str, float] = {}
        started = time.monotonic()

        def note(event: StepEvent) -> None:
            now = time.monotonic() - started
            if event.kind == "start":
                begun[event.step] = now
            elif event.kind == "end":
                run.steps.append(TimedStep(event.step, round(max(0.0, now - event.seconds), 3), round(now, 3)))

        with listening(note):
            try:
                run.result = action()
            except BuildError as error:
                run.error = error.what
        run.seconds = round(time.monotonic() - started, 3)
        after = self._started()
        # A deletion goes on in the cloud; it must not be in the way of what is measured next.
        wait_for_deletions()
        run.operations = {name: count - before.get(name, 0) for name, count in after.items() if count > before.get(name, 0)}
        return run

    def strike(self, plan: dict[str, Any]) -> None:
        """Put a fault plan in force."""
        httpx.put(f"{load_profile('local').arm_endpoint}/_standin/faults", json=plan, timeout=10).raise_for_status()

    def _started(self) -> dict[str, int]:
        counted: dict[str, int] = httpx.get(f"{load_profile('local').arm_endpoint}/_standin/status", timeout=10).json()["started"]
        return counted

    def _lock(self, path: Path) -> Image:
        definition = load_definition(path)
        # One image, several states: the lock of each is kept, and put in place when it is that state's turn.
        self._lock_file(path).unlink(missing_ok=True)
        with open_cloud(load_profile("local")) as cloud:
            lock = resolve_lock(definition, path, cloud)
        self._kept(path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self._lock_file(path), self._kept(path))
        return Image(definition, lock, make_plan(definition, lock, scripts=guest_scripts(), uploads=read_uploads(definition)))

    def _lock_file(self, path: Path) -> Path:
        return self.folder / "out" / "locks" / f"{path.stem}.lock.yaml"

    def _kept(self, path: Path) -> Path:
        return self.folder / "locks" / path.parent.name / f"{path.stem}.lock.yaml"

    @contextmanager
    def _serving(self, scale: float) -> Iterator[None]:
        os.environ["WINVHD_STATE"] = str(self.folder / "state")
        os.environ["WINVHD_OUT"] = str(self.folder / "out")
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / "latency.yaml"
        content = yaml.safe_load(LATENCY.read_text(encoding="utf-8")) | {"scale": scale}
        file.write_text(yaml.safe_dump(content), encoding="utf-8")
        process = start_stand_in(with_parent=True, options=("--latency", str(file)))
        try:
            yield
        finally:
            process.stop()


def latency_of(factor: float) -> LatencyProfile:
    """The committed profile, with all latencies times a factor."""
    profile = load_latency(LATENCY)
    return LatencyProfile(scale=profile.scale * factor, minutes=profile.minutes)
