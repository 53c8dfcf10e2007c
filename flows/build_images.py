"""Several images in one run: what they have in common is built once, their branches side by side."""

from __future__ import annotations

from functools import partial
from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.context import FlowRunContext

from flows.build_image import build_image
from flows.choices import CloudName, ImageChoice, Rebuild, build_images_run_name
from flows.side_by_side import ImageOutcome, raise_failures, side_by_side
from images.loading import find_definition, load_definition
from tasks.release_resources import release_resources


@flow(
    name="build-images",
    flow_run_name=build_images_run_name,
    description="Builds several Windows node images: shared layers once, branches in parallel within the vCPU quota.",
    on_cancellation=[release_resources],
    on_crashed=[release_resources],
)
def build_images(images: list[ImageChoice], cloud: CloudName = "local", rebuild: Rebuild = "changed") -> list[dict[str, Any]]:
    """Build several images; one that fails does not stop the others, and the run then ends failed and says which.

    Args:
        images: The image definitions to build (images/definitions). Layers that several have in common are built once.
        cloud: Where to build them. local is the stand-in cloud on the worker's machine, azure your subscription.
        rebuild: What to build again. changed builds what has changed since the last checkpoint, and nothing when nothing has;
            image always makes new images, on top of the layers that are there; everything starts at the base image.
    """
    # All faults of all definitions before anything is built.
    choices = {load_definition(find_definition(image)).name: image for image in images}
    outcomes = side_by_side({name: partial(build_image, image, cloud, "", rebuild) for name, image in choices.items()})
    show_outcomes(outcomes)
    raise_failures(outcomes)
    return [outcome.result for outcome in outcomes if outcome.result is not None]


def show_outcomes(outcomes: list[ImageOutcome]) -> None:
    """One row an image, as an artifact of the flow run; outside a run nothing."""
    if FlowRunContext.get() is None:
        return
    rows = [outcome.row() for outcome in outcomes]
    failed = sum(outcome.error is not None for outcome in outcomes)
    create_table_artifact(rows, key="images", description=f"{len(rows)} images, {failed} failed")
