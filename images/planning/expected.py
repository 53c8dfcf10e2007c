"""Expected: how long planned work will take, from past builds."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from images.frozen import Frozen
from images.history import Histories, expected_minutes, expected_total
from images.planning.work import PlannedWork


class Expected(Frozen):
    """The minutes that past builds let expect; None where none has done it. Never part of a plan: they change while it does not."""

    layers: dict[str, float | None] = Field(description="Minutes of each layer that is built, by fingerprint.")
    images: dict[str, float | None] = Field(description="Minutes of each image's build, with what is around its layers.")
    minutes: float | None = Field(description="Minutes until the last image is done, when all are built at the same time.")


def expected_of(work: PlannedWork, histories: Mapping[str, Histories]) -> Expected:
    """The minutes to expect, from the timings of past builds by image.

    A layer that images share goes by the builds of all of them; what an image's own builds do not tell, those of the others do.
    """
    everything = [steps for past in histories.values() for steps in past]
    layers: dict[str, float | None] = {}
    to_build: dict[str, list[str]] = {image.image: [] for image in work.images if not image.already_built}
    for layer in work.walk():
        if layer.action == "build":
            past = [steps for image in layer.images for steps in histories.get(image, ())]
            own = expected_minutes(past, layer.layer)
            layers[layer.fingerprint] = own if own is not None else expected_minutes(everything, layer.layer)
            for image in layer.built_for:
                to_build[image].append(layer.layer)
    images: dict[str, float | None] = {}
    for image, names in to_build.items():
        own = expected_total(histories.get(image, ()), names)
        images[image] = own if own is not None else expected_total(everything, names)
    known = [minutes for minutes in images.values() if minutes is not None]
    return Expected(layers=layers, images=images, minutes=max(known, default=0.0) if len(known) == len(images) else None)
