"""Layers of several images as trees: what images have in common is there once."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from images.frozen import Frozen
from images.plan import BuildPlan, Layer
from images.stages.contract import LayerName


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
