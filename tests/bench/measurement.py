"""The measurement of all scenarios with one set of latencies: our side, the reference, and the critical path."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from flows.build_image import build_image
from flows.build_images import build_images
from flows.choices import ImageChoice
from tests.bench.critical_path import Image, Node, build_path, failed_path, several_path
from tests.bench.reference_build import build_reference
from tests.bench.scenarios import Scenarios
from tests.bench.workplace import NOTHING_WRONG, SYSPREP_STUCK_ONCE, Run, Workplace, latency_of


@dataclass
class Measured:
    """One scenario: seconds of both sides and of the critical path, and where ours went."""

    scenario: str
    title: str
    goal: str
    ours_s: float
    reference_s: float
    critical_s: float
    critical_path: list[tuple[str, float]] = field(default_factory=list)
    """Operations and their minutes."""
    steps: list[dict[str, Any]] = field(default_factory=list)
    operations: dict[str, int] = field(default_factory=dict)

    @property
    def times_faster(self) -> float:
        """The reference's seconds over ours."""
        return self.reference_s / self.ours_s

    @property
    def over_critical(self) -> float:
        """Our seconds over the critical path's; 0 where that has no length."""
        return self.ours_s / self.critical_s if self.critical_s else 0.0


@dataclass
class Sweep:
    """Everything measured with one factor on all latencies."""

    factor: float
    seconds_per_minute: float
    reference_steps: list[dict[str, Any]]
    scenarios: dict[str, Measured]

    def as_json(self) -> dict[str, Any]:
        """For results.json."""
        cold = self.scenarios.get("cold")
        found = {
            name: asdict(one)
            | {
                "times_faster": one.times_faster,
                "over_critical": one.over_critical,
                # The slowest of several images that differ in little is as slow as the one they are made of.
                "of_one_build": one.ours_s / cold.ours_s if cold else 0.0,
            }
            for name, one in self.scenarios.items()
        }
        return asdict(self) | {"scenarios": found}


Say = Callable[[str], None]


class Session:
    """One factor's measurements, in folders below one."""

    def __init__(self, scenarios: Scenarios, wanted: Sequence[str], factor: float, folder: Path, say: Say) -> None:
        self._scenarios = scenarios
        self._wanted = wanted
        self._latency = latency_of(factor)
        self._factor = factor
        self._folder = folder
        self._say = say
        self._files = scenarios.write(folder / "definitions")
        self._found: dict[str, Measured] = {}

    def run(self) -> Sweep:
        """Measure what is wanted; a scenario that changes something needs the cold build before it."""
        first = self._place("first")
        self._say(f"latencies times {self._factor:g}: locking")
        alone = [name for name in self._scenarios.scenarios if name not in ("sysprep", "five")]
        first.prepare([file for name in alone for file in self._files[name]])
        with first.serving():
            base = first.images[self._files["cold"][0]]
            reference = self._reference(first)
            failed = self._reference(first, until="sysprep") if "sysprep" in self._wanted else 0.0
            if set(alone) & set(self._wanted):
                self._cold(first, base, reference)
            for name in alone[1:]:
                if name in self._wanted:
                    self._again(first, name, base, reference)
        if "sysprep" in self._wanted:
            self._fails(reference + failed)
        if "five" in self._wanted:
            self._several(reference)
        return Sweep(self._factor, self._latency.scale * 60, self._reference_steps, self._found)

    def _place(self, name: str) -> Workplace:
        return Workplace(self._folder / name, self._latency)

    def _reference(self, place: Workplace, until: str = "") -> float:
        file = self._files["cold"][0]
        steps = place.measure(lambda: build_reference(str(file), until=until), locked=[file])
        if steps.error:
            raise SystemExit(f"the reference failed: {steps.error}")
        if not until:
            self._reference_steps = [asdict(step) for step in steps.result]
        self._say(f"  reference{' until ' + until if until else ''}: {steps.seconds:.1f} s")
        return steps.seconds

    def _cold(self, place: Workplace, base: Image, reference: float) -> None:
        run = self._build(place, self._files["cold"][0])
        self._note("cold", run, reference, build_path(self._latency, base))

    def _again(self, place: Workplace, name: str, base: Image, reference: float) -> None:
        file = self._files[name][0]
        run = self._build(place, file)
        known = [layer.fingerprint for layer in base.plan.layers if layer.reusable]
        unchanged = place.images[file].plan == base.plan
        path = Node(0.0) if unchanged else build_path(self._latency, place.images[file], known)
        if unchanged and run.operations.get("vm.create", 0):
            raise SystemExit(f"{name}: {run.operations['vm.create']} VMs were created")
        self._note(name, run, reference, path)

    def _fails(self, reference: float) -> None:
        place, file = self._place("sysprep"), self._files["sysprep"][0]
        place.prepare([file])
        with place.serving():
            place.strike(SYSPREP_STUCK_ONCE)
            first = place.measure(lambda: build_image(ImageChoice(str(file)), "local"), locked=[file])
            place.strike(NOTHING_WRONG)
            if "sysprep" not in first.error:
                raise SystemExit(f"the build was to fail at sysprep, and said: {first.error or 'nothing'}")
            second = self._build(place, file)
        both = Run(first.seconds + second.seconds, [*first.steps, *second.steps], _sum(first.operations, second.operations))
        self._note("sysprep", both, reference, failed_path(self._latency, place.images[file]))

    def _several(self, reference: float) -> None:
        place, files = self._place("five"), self._files["five"]
        place.prepare(files)
        with place.serving():
            run = self._checked(
                "five", place.measure(lambda: build_images([ImageChoice(str(file)) for file in files], "local"), locked=files)
            )
        self._note("five", run, reference, several_path(self._latency, [place.images[file] for file in files]))

    def _build(self, place: Workplace, file: Path) -> Run:
        return self._checked(file.parent.name, place.measure(lambda: build_image(ImageChoice(str(file)), "local"), locked=[file]))

    def _checked(self, name: str, run: Run) -> Run:
        if run.error:
            raise SystemExit(f"{name} failed: {run.error}")
        return run

    def _note(self, name: str, run: Run, reference: float, path: Node) -> None:
        scenario = self._scenarios.scenarios[name]
        critical = path.ends_at * 60 * self._latency.scale
        steps = [asdict(step) for step in sorted(run.steps, key=lambda step: step.starts_at)]
        measured = Measured(
            name, scenario.title, scenario.goal, run.seconds, reference, round(critical, 3), list(path.path), steps, run.operations
        )
        self._found[name] = measured
        over = f", {measured.over_critical:.2f} of the critical path" if critical else ""
        self._say(f"  {scenario.title}: {run.seconds:.1f} s, {measured.times_faster:.1f} times faster{over}")


def _sum(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in sorted(one.keys() | other.keys())}
