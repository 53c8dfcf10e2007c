"""What a build of some images would do: their locks and plans, and what is in the cloud already. Nothing is changed there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from images.definition import ImageDefinition
from images.errors import CloudError, DefinitionError, Problem
from images.layer_record import LayerRecord
from images.loading import find_definition, load_definition, read_uploads
from images.plan import BuildPlan, make_plan
from images.planning.expected import Expected, expected_of
from images.planning.outlook import planned_work
from images.planning.plan_digest import plan_digest
from images.planning.work import PlannedWork
from images.privacy import scope_of
from images.stages.contract import LayerName
from images.timings import StepTiming
from infra.azure.blob_storage import BUILDS_CONTAINER
from infra.azure.build_history import BuildHistory
from infra.azure.built_images import BuiltImages
from infra.azure.checkpoint_name import PUBLIC
from infra.azure.checkpoints import find_checkpoint
from infra.azure.layer_records import LayerRecords
from infra.azure.session import Cloud
from infra.guest.package import guest_scripts
from tasks.resolve_lock import resolve_lock

_PARALLEL = 16
"""Requests at the same time; each waits for the cloud."""
_PARALLEL_LOCKS = 4
"""A lock that has to be made fetches with several threads of its own."""

_Found = TypeVar("_Found")


@dataclass(frozen=True)
class ImageSource:
    """A definition and the file it is in: its lock lies beside that."""

    file: Path
    definition: ImageDefinition


@dataclass(frozen=True)
class PlannedImages:
    """Plans, what they come to, and the minutes that this takes by past builds."""

    plans: tuple[BuildPlan, ...]
    work: PlannedWork
    expected: Expected


def image_sources(names_or_paths: Sequence[str]) -> tuple[ImageSource, ...]:
    """The definitions that were named, each once; raises DefinitionError for what is wrong in one, and for two of the same name."""
    sources: dict[str, ImageSource] = {}
    for given in names_or_paths:
        file = find_definition(given)
        source = ImageSource(file, load_definition(file))
        known = sources.setdefault(source.definition.name, source)
        if known.file.resolve() != file.resolve():
            message = f"{known.file} and {file} both define {source.definition.name}"
            raise DefinitionError([Problem(str(file), 0, "name", message, "give each image a name of its own")])
    return tuple(sources.values())


def make_plans(cloud: Cloud, sources: Sequence[ImageSource]) -> tuple[BuildPlan, ...]:
    """The plans of locked definitions; raises what `resolve_lock` and `make_plan` raise."""
    scripts = guest_scripts()

    def made(source: ImageSource) -> BuildPlan:
        lock = resolve_lock(source.definition, source.file, cloud)
        scope = scope_of(source.definition)
        return make_plan(source.definition, lock, scripts=scripts, uploads=read_uploads(source.definition), scope=scope)

    with ThreadPoolExecutor(_PARALLEL_LOCKS, thread_name_prefix="lock") as pool:
        return tuple(pool.map(made, sources))


def plan_images(cloud: Cloud, sources: Sequence[ImageSource], scope: str = PUBLIC) -> PlannedImages:
    """What a build of these images would do now, for a scope's checkpoints; raises what `make_plans` and `look_ahead` raise."""
    return look_ahead(cloud, make_plans(cloud, sources), scope)


def look_ahead(cloud: Cloud, plans: Sequence[BuildPlan], scope: str = PUBLIC) -> PlannedImages:
    """What becomes of these plans, by what is in the cloud now: checkpoints, their records, finished images, timings. Raises CloudError."""
    with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="look-up") as pool:
        # A plan with private packages is built in a scope of its own, whatever the others are planned for.
        look_ups = {plan.image: _LookUp(cloud, plan.scope if plan.private else scope, pool) for plan in plans}
        finished = {plan_digest(plan): look_ups[plan.image].finished(plan) for plan in plans}
        histories = {plan.image: look_ups[plan.image].history(plan.image) for plan in plans}
        checkpoints = {
            layer.fingerprint: look_ups[plan.image].checkpoint(layer.name, layer.fingerprint)
            for plan in sorted(plans, key=lambda plan: plan.private)
            for layer in plan.layers
            if layer.reusable and layer.stages
        }
        found = {fingerprint: name for fingerprint, pending in checkpoints.items() if (name := pending.result()) is not None}
        # What exists needs no explanation, and a record is a request.
        missing = [
            (layer.name, look_ups[plan.image].scope)
            for plan in plans
            for layer in plan.layers
            if layer.reusable and layer.stages and layer.fingerprint not in found
        ]
        records: dict[LayerName, list[Future[list[LayerRecord]]]] = {}
        for name, place in dict.fromkeys(missing):
            records.setdefault(name, []).append(_LookUp(cloud, place, pool).records(name))
        work = planned_work(
            plans,
            found,
            {name: [record for pending in places for record in pending.result()] for name, places in records.items()},
            {digest: version for digest, pending in finished.items() if (version := pending.result()) is not None},
        )
        return PlannedImages(tuple(plans), work, expected_of(work, {image: pending.result() for image, pending in histories.items()}))


@dataclass(frozen=True)
class _LookUp:
    """Questions to the cloud, each asked in a thread of its own. A private build sees its own scope and the public one."""

    cloud: Cloud
    scope: str
    pool: ThreadPoolExecutor

    def checkpoint(self, layer: LayerName, fingerprint: str) -> Future[str | None]:
        """The name of the checkpoint that a build would start from."""
        return self.pool.submit(self._checkpoint, layer, fingerprint)

    def records(self, layer: LayerName) -> Future[list[LayerRecord]]:
        """What was recorded of a layer that somebody saved."""
        return self.pool.submit(
            lambda: self._everywhere(lambda container: LayerRecords(self.cloud, container=container).of_layer(layer.value))
        )

    def history(self, image: str) -> Future[list[tuple[StepTiming, ...]]]:
        """The timings of the image's latest builds."""
        return self.pool.submit(lambda: self._everywhere(lambda container: BuildHistory(self.cloud, container=container).recent(image)))

    def finished(self, plan: BuildPlan) -> Future[str | None]:
        """The version that was built from exactly this plan, in this scope."""
        return self.pool.submit(self._finished, plan)

    def _checkpoint(self, layer: LayerName, fingerprint: str) -> str | None:
        for scope in dict.fromkeys((self.scope, PUBLIC)):
            checkpoint = find_checkpoint(self.cloud, layer.value, fingerprint, scope)
            if checkpoint is not None:
                return checkpoint.name
        return None

    def _finished(self, plan: BuildPlan) -> str | None:
        record = BuiltImages(self.cloud, container=self._containers[0]).find(plan.image, plan_digest(plan))
        return record.image_version if record is not None else None

    @property
    def _containers(self) -> tuple[str, ...]:
        return (BUILDS_CONTAINER,) if self.scope == PUBLIC else (self.scope, BUILDS_CONTAINER)

    def _everywhere(self, look: Callable[[str], Sequence[_Found]]) -> list[_Found]:
        found: list[_Found] = []
        for container in self._containers:
            try:
                found += look(container)
            except CloudError as error:
                # Where nobody has built yet there is no container.
                if error.code != "ContainerNotFound":
                    raise
        return found
