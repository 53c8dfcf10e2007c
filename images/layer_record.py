"""LayerRecord: what a layer was built from, kept beside its checkpoint, so that a later plan can say what has changed since."""

from __future__ import annotations

from pydantic import Field, JsonValue

from images.fingerprint import canonical, digest
from images.frozen import Frozen
from images.plan import BuildPlan, Layer
from images.stages.contract import LayerName


class RecordedStage(Frozen):
    """One stage as the fingerprint saw it: tokens are left out, and so is what only a run knows."""

    stage: str
    input: dict[str, JsonValue]
    restart_after: bool


class LayerRecord(Frozen):
    """Everything behind one fingerprint; holds no URL token and no secret."""

    layer: LayerName
    fingerprint: str
    parent: str = Field(description="Fingerprint of the layer below; of the base image for the first layer.")
    image: str = Field(description="The image whose build made the layer.")
    recorded_at: str = Field(description="When, ISO 8601 in UTC.")
    root: dict[str, JsonValue] = Field(description="The base image and the VM that the layer stands on.")
    scripts: dict[str, str] = Field(description="SHA-256 of each script and of their shared module, by file name.")
    stages: tuple[RecordedStage, ...]

    @property
    def is_first(self) -> bool:
        """True when the layer stands on the base image itself."""
        return self.parent == digest(self.root)


def record_of(plan: BuildPlan, layer: Layer, recorded_at: str) -> LayerRecord:
    """The record of a layer of this plan."""
    return LayerRecord(
        layer=layer.name,
        fingerprint=layer.fingerprint,
        parent=layer.parent,
        image=plan.image,
        recorded_at=recorded_at,
        root=plan.root,
        scripts=layer.scripts,
        stages=tuple(
            # Validated once more: canonical() promises any JSON value, and an input is an object.
            RecordedStage.model_validate({"stage": stage.stage, "input": canonical(stage.input), "restart_after": stage.restart_after})
            for stage in layer.stages
        ),
    )
