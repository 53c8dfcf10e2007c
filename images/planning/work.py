"""PlannedWork: what a build of some images will reuse and build, why, and what it needs; the same plan twice is the same bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from images.frozen import Frozen
from images.planning.change import Change
from images.stages.contract import LayerName


class Since(Frozen):
    """The nearest checkpoint of a layer, and what has changed since it was saved."""

    checkpoint: str = Field(description="The first 12 digits of its fingerprint.")
    image: str = Field(description="The image whose build saved it.")
    recorded_at: str = Field(description="When, ISO 8601 in UTC.")
    below: str = Field(description="Name of the layer below when that one changed, else empty.")
    changes: tuple[Change, ...] = Field(description="The layer's own changes.")


class PlannedLayer(Frozen):
    """A layer that one or several images stand on, and what happens to it."""

    layer: LayerName
    fingerprint: str
    images: tuple[str, ...] = Field(description="Images that contain this layer.")
    action: Literal["reuse", "build", "empty"] = Field(description="empty: it has no stages, and nothing happens.")
    built_for: tuple[str, ...] = Field(description="Images whose build has to make it; the others start above it.")
    reason: str = Field(description="Why it is built; empty where `since` says it, and for a layer that is reused.")
    checkpoint: str = Field(description="The checkpoint that is restored here; empty where none is, or one further up.")
    since: Since | None = Field(description="What changed since the nearest checkpoint; null where nothing like it was ever saved.")
    children: tuple[PlannedLayer, ...]


class VmCount(Frozen):
    """VMs that a build starts, by what they are for."""

    build: int = Field(description="Makes the image.")
    test: int = Field(description="Boots the captured VHD.")
    plain: int = Field(description="Bootstraps a node on the plain base image, to compare with.")

    @property
    def total(self) -> int:
        """All of them, over the whole build."""
        return self.build + self.test + self.plain


class PlannedImage(Frozen):
    """One image of the plan."""

    image: str
    base: str = Field(description="publisher:offer:sku:version of its base image.")
    generation: str
    plan_digest: str = Field(description="SHA-256 of everything the image depends on.")
    already_built: str = Field(
        description="Version that was built and released from exactly this plan; empty when the image is to be built."
    )
    vms: VmCount
    disk_gib: int = Field(description="OS disks of all its VMs together.")

    @property
    def action(self) -> str:
        """What happens to the image, in words."""
        return f"nothing to do: {self.already_built}" if self.already_built else "build"


class PlannedWork(Frozen):
    """What a build of these images will do; holds nothing that depends on when or how often it is asked."""

    images: tuple[PlannedImage, ...]
    unchanged: tuple[str, ...] = Field(description="Images that were built and released from exactly this plan: nothing is done for them.")
    layers: tuple[PlannedLayer, ...] = Field(description="The layers of all other images, as trees.")
    reused: int = Field(description="Layers that are reused.")
    built: int = Field(description="Layers that are built; a last layer once for each image.")
    vms: VmCount
    disk_gib: int = Field(description="OS disks of all VMs together.")

    def walk(self) -> Iterator[PlannedLayer]:
        """Every layer, each before those above it."""
        return _walk(self.layers)

    @property
    def nothing_to_do(self) -> bool:
        """True when no VM is started."""
        return self.vms.total == 0


def _walk(layers: tuple[PlannedLayer, ...]) -> Iterator[PlannedLayer]:
    for layer in layers:
        yield layer
        yield from _walk(layer.children)
