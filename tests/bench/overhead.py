"""Our own overhead: a whole build without any latency, and where its time goes; seconds by number of packages."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import psutil
import yaml

from flows.build_image import build_image
from flows.choices import ImageChoice
from infra.checkout import ROOT
from tests.bench.scenarios import Scenarios
from tests.bench.workplace import Run, Workplace, latency_of

INTERVAL_S = 0.02
MEMORY_INTERVAL_S = 0.1
_KINDS = (
    ("hashing and disks", ("hashlib.py", "infra/vhd/", "infra/azure/page_blob.py")),
    ("WinRM", ("/winrm/", "/spnego/", "xmltodict", "infra/guest/")),
    ("Azure SDK", ("/azure/",)),
    ("Prefect", ("/prefect/", "/sqlalchemy/", "/anyio/", "asyncio/")),
    ("imports", ("<frozen importlib",)),
    ("ours", (f"{ROOT}/flows/", f"{ROOT}/tasks/", f"{ROOT}/images/", f"{ROOT}/infra/")),
)
"""What a thread works for, by a part of a file's name on its stack, innermost first."""


class Sampler:
    """Looks at this process's threads while a build runs: how many processor seconds each kind of work took."""

    def __init__(self) -> None:
        self._seen: dict[str, float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="sampler", daemon=True)

    @contextmanager
    def sampling(self) -> Iterator[None]:
        """Sample while the block runs."""
        self._thread.start()
        try:
            yield
        finally:
            self._over.set()
            self._thread.join()

    @property
    def seconds(self) -> dict[str, float]:
        """Processor seconds by kind of work, most first."""
        return {kind: round(seconds, 2) for kind, seconds in sorted(self._seen.items(), key=lambda item: -item[1])}

    def _look(self) -> None:
        process = psutil.Process()
        before = {thread.id: thread.user_time + thread.system_time for thread in process.threads()}
        while not self._over.wait(INTERVAL_S):
            frames = sys._current_frames()
            idents = {thread.native_id: thread.ident for thread in threading.enumerate()}
            for thread in process.threads():
                used = thread.user_time + thread.system_time
                gained, before[thread.id] = used - before.get(thread.id, 0.0), used
                # What a thread has used since the last look goes to what it does now: over some hundred looks that evens out.
                if gained > 0 and thread.id != threading.get_native_id():
                    kind = _kind(frames.get(idents.get(thread.id) or 0))
                    self._seen[kind] = self._seen.get(kind, 0.0) + gained


def _kind(frame: FrameType | None) -> str:
    while frame is not None:
        for kind, parts in _KINDS:
            if any(part in frame.f_code.co_filename for part in parts):
                return kind
        frame = frame.f_back
    return "other"


@contextmanager
def _memory(peak: dict[str, float]) -> Iterator[None]:
    """The peak of the proportional set sizes of this process and everything it started, in MB, by program."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(MEMORY_INTERVAL_S):
            found: dict[str, float] = {}
            for process in _family():
                try:
                    size_mb = process.memory_full_info().pss / 1e6
                    found[_program(process)] = found.get(_program(process), 0.0) + size_mb
                except psutil.Error:
                    continue
            if sum(found.values()) > peak.get("together", 0):
                peak.update({name: round(size) for name, size in found.items()} | {"together": round(sum(found.values()))})

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _family() -> list[psutil.Process]:
    root = psutil.Process()
    return [root, *root.children(recursive=True)]


def _program(process: psutil.Process) -> str:
    words = " ".join(process.cmdline())
    names = (("azurite", "Azurite"), ("infra.local", "stand-in"), ("prefect", "Prefect server"))
    return next((name for part, name in names if part in words), "build" if process.pid == psutil.Process().pid else "other")


def _cpu() -> dict[str, float]:
    found: dict[str, float] = {}
    for process in _family():
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        found[_program(process)] = found.get(_program(process), 0.0) + times.user + times.system
    return found


def import_seconds(module: str) -> float:
    """Seconds to import a module in a fresh Python, without Python's own start."""
    code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    return round(float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout), 2)


def measure_build(scenarios: Scenarios, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """A cold build and one where nothing changed, without latency."""
    file = scenarios.write(folder / "definitions")["cold"][0]
    place = Workplace(folder / "without-latency", latency_of(0))
    place.prepare([file])
    peak: dict[str, float] = {}
    sampler = Sampler()
    with place.serving():
        before = _cpu()
        with _memory(peak), sampler.sampling():
            run = _checked(place.measure(lambda: build_image(ImageChoice(str(file)), "local"), locked=[file]))
        after = _cpu()
        again = _checked(place.measure(lambda: build_image(ImageChoice(str(file)), "local"), locked=[file]))
    cpu = {name: round(seconds - before.get(name, 0.0), 2) for name, seconds in after.items()}
    say(f"  cold: {run.seconds:.1f} s, {peak['together']:.0f} MB; nothing changed: {again.seconds:.2f} s")
    return {
        "cold_s": run.seconds,
        "unchanged_s": again.seconds,
        "peak_mb": peak,
        "cpu_s": cpu,
        "cpu_of_the_build_s": sampler.seconds,
        "import_s": {module: import_seconds(module) for module in ("flows.build_image", "prefect", "azure.mgmt.network", "winrm")},
        "winrm": run.result["winrm"],
        "steps": [{"name": step.name, "seconds": round(step.ends_at - step.starts_at, 3)} for step in run.steps],
    }


def measure_packages(counts: Sequence[int], folder: Path, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Seconds of a build by number of packages, without latency and without container images."""
    place = Workplace(folder / "packages", latency_of(0))
    files = [_with_packages(folder / "definitions" / "packages", count) for count in counts]
    place.prepare(files)
    found: list[dict[str, Any]] = []
    with place.serving():
        for count, file in zip(counts, files, strict=True):
            before = sum(_cpu().values())
            run = _checked(place.measure(partial(build_image, ImageChoice(str(file)), "local"), locked=[file]))
            say(f"  {count} packages: {run.seconds:.1f} s")
            slowest = sorted(run.steps, key=lambda step: step.starts_at - step.ends_at)[:5]
            steps = {step.name: round(step.ends_at - step.starts_at, 2) for step in slowest}
            cpu_s = round(sum(_cpu().values()) - before, 2)
            found.append({"packages": count, "seconds": run.seconds, "cpu_s": cpu_s, "longest": steps})
    return found


def _with_packages(folder: Path, count: int) -> Path:
    packages = [
        {"url": f"https://packages.example.com/part/v1.{number}.0/part-v1.{number}.0.zip", "destination": "C:\\akse-cache\\parts\\"}
        for number in range(count)
    ]
    content = {
        "schema_version": 1,
        "name": f"bench-{count}-packages",
        "base": {
            "publisher": "MicrosoftWindowsServer",
            "offer": "windowsserver2022",
            "sku": "2022-Datacenter-Core-smalldisk",
            "version": "20348.5499.260809",
        },
        "os_disk_gib": 127,
        "packages": packages,
        "e2e_suites": ["first-boot"],
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{content['name']}.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def _checked(run: Run) -> Run:
    if run.error:
        raise SystemExit(f"the build failed: {run.error}")
    return run
