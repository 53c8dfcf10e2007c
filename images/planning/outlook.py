"""What will happen to the layers and images of some plans, given what exists already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from images.definition import E2ESuite
from images.errors import BuildError
from images.layer_record import LayerRecord, record_of
from images.plan import BuildPlan, Layer
from images.planning.changes import nearest
from images.planning.plan_digest import plan_digest
from images.planning.tree import PlanNode, plan_tree
from images.planning.work import PlannedImage, PlannedLayer, PlannedWork, Since, VmCount
from images.stages.contract import LayerName

FIRST_BUILD: Final = "no checkpoint of this layer yet"
CHECKPOINT_GONE: Final = "nothing changed, but its checkpoint is not there"
ALWAYS_BUILT: Final = "built every time: Defender's signatures age, and a generalized disk starts no build"


def planned_work(
    plans: Sequence[BuildPlan],
    found: Mapping[str, str],
    records: Mapping[LayerName, Sequence[LayerRecord]],
    already_built: Mapping[str, str] | None = None,
) -> PlannedWork:
    """The work that these plans are.

    Args:
        plans: The images, each once.
        found: Names of the checkpoints that exist, by fingerprint. A plan starts at its highest one, and needs none below it.
        records: What was recorded of the layers that were saved, by layer.
        already_built: Versions that were built and released, by `plan_digest`.

    Raises BuildError for two plans of one image.
    """
    if len({plan.image for plan in plans}) != len(plans):
        raise BuildError("two plans are of the same image", hint="a fault of the program: please report it")
    released = already_built or {}
    images = tuple(_image(plan, released.get(plan_digest(plan), "")) for plan in plans)
    to_build = [plan for plan, image in zip(plans, images, strict=True) if not image.already_built]
    outlook = _Outlook(to_build, found, records)
    layers = tuple(outlook.layer(node, below="") for node in plan_tree(to_build))
    work = PlannedWork(
        images=images,
        unchanged=tuple(image.image for image in images if image.already_built),
        layers=layers,
        reused=0,
        built=0,
        vms=VmCount(**{role: sum(getattr(image.vms, role) for image in images) for role in VmCount.model_fields}),
        disk_gib=sum(image.disk_gib for image in images),
    )
    return work.model_copy(
        update={
            "reused": sum(layer.action == "reuse" for layer in work.walk()),
            "built": sum(_times_built(layer) for layer in work.walk()),
        }
    )


@dataclass(frozen=True)
class _Start:
    """Where a plan starts: how many of its layers are there, and the checkpoint of the last of them."""

    layers: int
    checkpoint: str


class _Outlook:
    def __init__(self, plans: Sequence[BuildPlan], found: Mapping[str, str], records: Mapping[LayerName, Sequence[LayerRecord]]) -> None:
        self._plans = {plan.image: plan for plan in plans}
        self._starts = {plan.image: _start(plan, found) for plan in plans}
        self._records = records

    def layer(self, node: PlanNode, *, below: str, depth: int = 0) -> PlannedLayer:
        """A node of the tree, and those above it; `below` names the next layer under it that has stages."""
        plan = self._plans[node.images[0]]
        layer = plan.layers[depth]
        built_for = tuple(image for image in node.images if depth >= self._starts[image].layers)
        builds = bool(built_for and layer.stages)
        since, reason = self._why(plan, layer, node.images, below) if builds else (None, "")
        return PlannedLayer(
            layer=node.layer,
            fingerprint=node.fingerprint,
            images=node.images,
            action="empty" if not layer.stages else "build" if builds else "reuse",
            built_for=built_for if builds else (),
            reason=reason,
            checkpoint=next((start.checkpoint for image in node.images if (start := self._starts[image]).layers == depth + 1), ""),
            since=since,
            children=tuple(self.layer(child, below=node.layer if layer.stages else below, depth=depth + 1) for child in node.children),
        )

    def _why(self, plan: BuildPlan, layer: Layer, images: tuple[str, ...], below: str) -> tuple[Since | None, str]:
        if not layer.reusable:
            return None, ALWAYS_BUILT
        this = record_of(plan, layer, "")
        closest = nearest(this, self._records.get(layer.name, ()), images)
        if closest is None:
            return None, FIRST_BUILD
        record = closest.record
        if record.fingerprint == layer.fingerprint:
            return None, CHECKPOINT_GONE
        since = Since(
            checkpoint=record.fingerprint[:12],
            image=record.image,
            recorded_at=record.recorded_at,
            below=below if record.parent != layer.parent else "",
            changes=closest.changes,
        )
        return since, ""


def _start(plan: BuildPlan, found: Mapping[str, str]) -> _Start:
    for count in range(len(plan.layers), 0, -1):
        layer = plan.layers[count - 1]
        if layer.reusable and layer.fingerprint in found:
            return _Start(count, found[layer.fingerprint])
    return _Start(0, "")


def _image(plan: BuildPlan, already_built: str) -> PlannedImage:
    # The boot test's VM is started whatever its suites are: that the image boots is its first finding.
    one = 0 if already_built else 1
    vms = VmCount(build=one, test=one, plain=one if E2ESuite.PLAIN_BOOTSTRAP in plan.e2e_suites else 0)
    return PlannedImage(
        image=plan.image,
        base=plan.base.urn,
        generation=plan.base.generation.value,
        plan_digest=plan_digest(plan),
        already_built=already_built,
        vms=vms,
        disk_gib=vms.total * plan.os_disk_gib,
    )


def _times_built(layer: PlannedLayer) -> int:
    if layer.action != "build":
        return 0
    # What is built once and saved serves every image; a last layer is in nobody else's image.
    return 1 if layer.layer is not LayerName.FINISH else len(layer.built_for)
