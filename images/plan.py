"""BuildPlan: the layers of an image, each an ordered group of stages with exactly the input that their scripts will get."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from typing import Any

from pydantic import Field, JsonValue

from images.definition import BaseImage, ImageDefinition
from images.errors import BuildError
from images.fingerprint import is_token, layer_fingerprint, root_fingerprint
from images.frozen import Frozen
from images.lock import ImageLock
from images.stages import STAGES
from images.stages.contract import LayerName, StageContract, StageInput
from images.steps import PlannedFile, Step, finish_steps, images_steps, os_steps, planned_files, runtime_steps
from images.steps.artifacts import artifacts_steps
from images.steps.sources import usable_lock


class PlannedStage(Frozen):
    """One stage of a plan; `input` lacks only what `input_at_run_time` names (dotted paths)."""

    stage: str = Field(description="Name of the stage's contract.")
    input: dict[str, JsonValue] = Field(
        description="What the script gets on standard input; cache:<sha256> and secret:<block> stand for read URLs."
    )
    restart_after: bool = Field(default=False, description="Restart and wait before the next stage.")
    input_at_run_time: tuple[str, ...] = Field(default=(), description="Fields that only the run knows, as dotted paths.")

    @property
    def contract(self) -> StageContract:
        """The stage's contract: its script, models and limits."""
        return STAGES[self.stage]

    @property
    def tokens(self) -> tuple[str, ...]:
        """The tokens in this input, each once, in their order."""
        return tuple(dict.fromkeys(_tokens(self.input)))

    def complete(self, values: Mapping[str, JsonValue] | None = None, url_of: Callable[[str], str] | None = None) -> StageInput:
        """The script's whole input, checked: `values` by dotted path for the fields of the run, `url_of` for each token.

        Raises BuildError when a field of the run was not given or was not asked for.
        """
        given = dict(values or {})
        if set(given) != set(self.input_at_run_time):
            raise BuildError(
                f"stage {self.stage} needs {sorted(self.input_at_run_time)} at run time, and got {sorted(given)}",
                hint="a fault of the program: please report it",
            )
        full: Any = copy.deepcopy(self.input)
        for path, value in given.items():
            *parents, last = path.split(".")
            holder = reduce(lambda node, part: node[int(part) if isinstance(node, list) else part], parents, full)
            holder[last] = value
        return self.contract.input.model_validate(full if url_of is None else _replaced(full, url_of))


class Layer(Frozen):
    """An ordered group of stages that ends in a checkpoint."""

    name: LayerName
    fingerprint: str = Field(description="SHA-256 of everything this layer and those below it depend on.")
    stages: tuple[PlannedStage, ...]

    @property
    def reusable(self) -> bool:
        """False for the last layer: Defender's signatures age, and a generalized disk starts no build."""
        return self.name is not LayerName.FINISH


class BuildPlan(Frozen):
    """What a build of one image will do, in order."""

    image: str
    base: BaseImage = Field(description="The base image, its version exact.")
    os_disk_gib: int
    root_fingerprint: str
    layers: tuple[Layer, ...]
    private: bool = Field(description="True when private packages are part of it: its checkpoints never serve public builds.")

    @property
    def stages(self) -> tuple[PlannedStage, ...]:
        """All stages, in order."""
        return tuple(stage for layer in self.layers for stage in layer.stages)

    @property
    def files(self) -> tuple[PlannedFile, ...]:
        """Every file that must be on the finished image, with its hash."""
        return planned_files(stage.input for stage in self.stages)

    def after(self, fingerprint: str | None) -> tuple[Layer, ...]:
        """The layers above a checkpoint; all of them when the fingerprint is None or not of this plan."""
        prints = [layer.fingerprint for layer in self.layers]
        return self.layers[prints.index(fingerprint) + 1 :] if fingerprint in prints else self.layers


def make_plan(
    definition: ImageDefinition, lock: ImageLock, *, scripts: Mapping[str, bytes], uploads: Mapping[str, str] | None = None
) -> BuildPlan:
    """The plan of a locked definition; `scripts` are the guest's files by name, `uploads` the texts of definition.files by source.

    Raises UnresolvedLockError when the lock is of another definition or lacks a hash, ConfigurationError for a missing script.
    """
    usable_lock(definition, lock)
    base = definition.base.model_copy(update={"version": lock.base_version})
    root = fingerprint = root_fingerprint(base, lock.base_version, definition.os_disk_gib)
    layers: list[Layer] = []
    for name, steps in (
        (LayerName.OS, os_steps(definition, lock)),
        (LayerName.RUNTIME, runtime_steps(definition, lock)),
        (LayerName.IMAGES, images_steps(lock)),
        (LayerName.ARTIFACTS, artifacts_steps(definition, lock, uploads or {})),
        (LayerName.FINISH, finish_steps(definition, lock)),
    ):
        stages = tuple(_planned(step) for step in steps)
        fingerprint = layer_fingerprint(
            fingerprint,
            name,
            [(stage.stage, stage.input, stage.restart_after) for stage in stages],
            scripts,
            [stage.contract.script for stage in stages],
        )
        layers.append(Layer(name=name, fingerprint=fingerprint, stages=stages))
    return BuildPlan(
        image=definition.name,
        base=base,
        os_disk_gib=definition.os_disk_gib,
        root_fingerprint=root,
        layers=tuple(layers),
        private=bool(definition.private_packages),
    )


def _planned(step: Step) -> PlannedStage:
    given = dict(step.input)
    if not step.at_run_time:
        # What can be checked now is checked now, not after an hour of building.
        given = step.contract.input.model_validate(given).model_dump(mode="json")
    return PlannedStage(stage=step.contract.name, input=given, restart_after=step.restart_after, input_at_run_time=step.at_run_time)


def _tokens(value: JsonValue) -> Iterator[str]:
    if isinstance(value, str) and is_token(value):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _tokens(item)


def _replaced(value: JsonValue, url_of: Callable[[str], str]) -> JsonValue:
    if isinstance(value, dict):
        return {key: _replaced(item, url_of) for key, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item, url_of) for item in value]
    return url_of(value) if isinstance(value, str) and is_token(value) else value


class PlanNode(Frozen):
    """A layer that one or several images build on; the images that end here are in no child."""

    layer: LayerName
    fingerprint: str
    images: tuple[str, ...] = Field(description="Images that contain this layer.")
    children: tuple[PlanNode, ...] = ()


def plan_tree(plans: Sequence[BuildPlan]) -> tuple[PlanNode, ...]:
    """The layers of several images as trees: what they have in common is there once."""
    return _nodes([(plan.image, plan.layers) for plan in plans])


def _nodes(branches: Sequence[tuple[str, tuple[Layer, ...]]]) -> tuple[PlanNode, ...]:
    groups: dict[str, list[tuple[str, tuple[Layer, ...]]]] = {}
    for image, layers in branches:
        if layers:
            groups.setdefault(layers[0].fingerprint, []).append((image, layers))
    return tuple(
        PlanNode(
            layer=group[0][1][0].name,
            fingerprint=fingerprint,
            images=tuple(image for image, _ in group),
            children=_nodes([(image, layers[1:]) for image, layers in group]),
        )
        for fingerprint, group in groups.items()
    )
