"""The scenarios of scenarios.yaml, and the definitions they build."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import Field, model_validator

from images.frozen import Frozen
from images.loading import find_definition

FILE = Path(__file__).with_name("scenarios.yaml")


class Change(Frozen):
    """One difference to a definition: a value at a place, or one more entry of a list there."""

    path: str = Field(description="Keys and positions, dotted; -1 is the last position.")
    set: Any = None
    add: Any = None

    @model_validator(mode="after")
    def _sets_or_adds(self) -> Self:
        if (self.set is None) == (self.add is None):
            raise ValueError("a change has either `set` or `add`")
        return self

    def apply(self, content: dict[str, Any]) -> None:
        """Make the change."""
        *parents, last = self.path.split(".")
        holder: Any = content
        for part in parents:
            holder = holder[int(part)] if isinstance(holder, list) else holder[part]
        if self.add is not None:
            holder.setdefault(last, []).append(copy.deepcopy(self.add))
        elif isinstance(holder, list):
            holder[int(last)] = copy.deepcopy(self.set)
        else:
            holder[last] = copy.deepcopy(self.set)


class Variant(Frozen):
    """One of several images that are built at once."""

    change: tuple[Change, ...] = ()


class Scenario(Frozen):
    """What happens, and what is different from the definition before."""

    title: str
    goal: str
    says: str
    change: tuple[Change, ...] = ()
    fails: bool = Field(default=False, description="The first build fails at sysprep, and a second one follows.")
    images: tuple[Variant, ...] = Field(default=(), description="The images of a scenario that builds several.")


class Overhead(Frozen):
    """How many packages the measurements without latency have, and how much each may cost."""

    packages: tuple[int, ...]
    goal_ms_each: float


class Scenarios(Frozen):
    """Everything in scenarios.yaml."""

    definition: str
    additions: tuple[Change, ...]
    scenarios: dict[str, Scenario]
    varied: tuple[str, ...]
    overhead: Overhead

    def write(self, folder: Path) -> dict[str, list[Path]]:
        """The definitions of each scenario as files in a folder, by the scenario's name."""
        folder.mkdir(parents=True, exist_ok=True)
        return {name: [self._write(folder, name, variant) for variant in _variants(scenario)] for name, scenario in self.scenarios.items()}

    def content(self, change: tuple[Change, ...] = ()) -> dict[str, Any]:
        """The definition with its additions and a change."""
        content: dict[str, Any] = yaml.safe_load(find_definition(self.definition).read_text(encoding="utf-8"))
        for one in (*self.additions, *change):
            one.apply(content)
        return content

    def _write(self, folder: Path, name: str, variant: tuple[str, tuple[Change, ...]]) -> Path:
        suffix, change = variant
        # One name for all states of one image: a change is a change of this image, not another one.
        image = f"bench{suffix}"
        (folder / name).mkdir(exist_ok=True)
        path = folder / name / f"{image}.yaml"
        path.write_text(yaml.safe_dump(self.content(change) | {"name": image}, sort_keys=False, width=200), encoding="utf-8")
        return path


def _variants(scenario: Scenario) -> list[tuple[str, tuple[Change, ...]]]:
    if not scenario.images:
        return [("", scenario.change)]
    return [(f"-{number}", image.change) for number, image in enumerate(scenario.images, 1)]


def load_scenarios() -> Scenarios:
    """What scenarios.yaml says."""
    return Scenarios.model_validate(yaml.safe_load(FILE.read_text(encoding="utf-8")))
