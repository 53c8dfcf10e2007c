"""BuildPlan: the layers of an image, each an ordered group of stages with exactly the input that their scripts will get."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from functools import reduce
from typing import Any

from pydantic import Field, JsonValue

from images.definition import BaseImage, E2ESuite, ImageDefinition
from images.errors import BuildError
from images.fingerprint import digest, is_token, layer_fingerprint, root_facts, script_digests
from images.frozen import Frozen
from images.lock import ImageLock
from images.privacy import PRIVATE, PUBLIC_SCOPE, is_private_scope, private_scope
from images.private_fix import PrivateFix
from images.stages import STAGES
from images.stages.contract import LayerName, StageContract, StageInput
from images.steps import PlannedFile, Step, finish_steps, fix_steps, images_steps, os_steps, planned_files, runtime_steps
from images.steps.artifacts import artifacts_steps
from images.steps.sources import usable_lock


class PlannedStage(Frozen):
    """One stage of a plan; `input` lacks only what `input_at_run_time` names (dotted paths)."""

    stage: str = Field(description="Name of the stage's contract.")
    input: dict[str, JsonValue] = Field(
        description="What the script gets on standard input; cache:<sha256>, secret:<block> and fix:<block> stand for read URLs."
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
    parent: str = Field(description="Fingerprint of the layer below; of the base image for the first one.")
    scripts: dict[str, str] = Field(description="SHA-256 of each script of its stages and of their shared module, by file name.")
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
    root: dict[str, JsonValue] = Field(description="The facts behind root_fingerprint: the base image and the VM it is built on.")
    layers: tuple[Layer, ...]
    e2e_suites: tuple[E2ESuite, ...] = Field(description="Suites that its boot test runs; no layer depends on them.")
    private: bool = Field(
        description="True for private work (a private scope, fix or package): it is never published, and never serves public builds."
    )
    scope: str = Field(default=PUBLIC_SCOPE, description="public, or private-<id>: what its tags and the mark inside the image say.")
    fix: PrivateFix | None = Field(default=None, description="The private fix that the layer `fix` installs.")

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
    definition: ImageDefinition,
    lock: ImageLock,
    *,
    scripts: Mapping[str, bytes],
    uploads: Mapping[str, str] | None = None,
    fix: PrivateFix | None = None,
    scope: str = PUBLIC_SCOPE,
) -> BuildPlan:
    """The plan of a locked definition; `scripts` are the guest's files by name, `uploads` the texts of definition.files by source.

    A private fix is one more layer before `finish`, and a private scope a mark within `finish`: the layers below are those of the public
    plan, fingerprints included. A fix without a private scope gets one from its hash, private packages the bare `private`.
    Raises UnresolvedLockError when the lock is of another definition or lacks a hash, ConfigurationError for a missing script.
    """
    usable_lock(definition, lock)
    if not is_private_scope(scope):
        scope = private_scope(fix.digits) if fix else PRIVATE if definition.private_packages else PUBLIC_SCOPE
    base = definition.base.model_copy(update={"version": lock.base_version})
    root = root_facts(base, lock.base_version, definition.os_disk_gib)
    parent = digest(root)
    layers: list[Layer] = []
    patch = [(LayerName.FIX, fix_steps(fix, int(lock.base_version.split(".", 1)[0]), scope))] if fix else []
    for name, steps in (
        (LayerName.OS, os_steps(definition, lock)),
        (LayerName.RUNTIME, runtime_steps(definition, lock)),
        (LayerName.IMAGES, images_steps(lock)),
        (LayerName.ARTIFACTS, artifacts_steps(definition, lock, uploads or {})),
        *patch,
        (LayerName.FINISH, finish_steps(definition, lock, fix, scope)),
    ):
        stages = tuple(_planned(step) for step in steps)
        used = script_digests(scripts, [stage.contract.script for stage in stages])
        fingerprint = layer_fingerprint(parent, name, [(stage.stage, stage.input, stage.restart_after) for stage in stages], used)
        layers.append(Layer(name=name, fingerprint=fingerprint, parent=parent, scripts=used, stages=stages))
        parent = fingerprint
    return BuildPlan(
        image=definition.name,
        base=base,
        os_disk_gib=definition.os_disk_gib,
        root_fingerprint=digest(root),
        root=root,
        layers=tuple(layers),
        e2e_suites=definition.e2e_suites,
        private=is_private_scope(scope),
        scope=scope,
        fix=fix,
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
