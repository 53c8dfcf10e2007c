"""What a person meets in the Prefect UI: parameters as lists to choose from, and the names of runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from flows.release_moment import release_moment
from images.errors import ConfigurationError
from images.loading import definition_names
from images.private_fix import LABEL_DIGITS
from images.updates.patch_week import month_of, pacific_day

CloudName = Literal["local", "azure"]
ReleaseKind = Literal["b-week", "preview"]
FollowKind = Literal["none", "b-week", "preview"]
Rebuild = Literal["changed", "image", "everything"]


class ImageChoice(str):
    """The name of a definition, or a path to one; the form of a deployment offers the committed names."""

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(cls, core_schema.str_schema(min_length=1))

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "enum": list(definition_names())}


_NAMED_IMAGES = 2
"""More images than these are counted in the name of a run: a list of runs shows some sixty characters."""


def build_run_name() -> str:
    """Name of the current run of build-image: build windows-2025 on local."""
    given = _parameters()
    return f"build {_image_names([given['image']])} on {given['cloud']}"


def build_images_run_name() -> str:
    """Name of the current run of build-images, with the number of images when there are many: build 6 images on local."""
    given = _parameters()
    return f"build {_image_names(given['images'])} on {given['cloud']}"


def monthly_run_name() -> str:
    """Name of the current monthly run: 2026-11 b-week on local; with its images when it takes only some."""
    given = _parameters()
    try:
        month = month_of(pacific_day(release_moment(given["as_of"])))
    except ConfigurationError:
        # The run itself says what is wrong with it.
        month = "no month"
    images = f" of {_image_names(given['images'])}" if given["images"] else ""
    return f"{month} {given['kind']}{images} on {given['cloud']}"


def private_fix_run_name() -> str:
    """Name of the current validation: private fix 0123456789ab on windows-2025. The digits are all that may be seen of the fix."""
    given = _parameters()
    return f"private fix {given['sha256'][:LABEL_DIGITS]} on {_image_names([given['image']])}"


def _parameters() -> Mapping[str, Any]:
    """What the current run was given, defaults included."""
    # Not at the top: Prefect reads its settings when it is first imported, and the command line makes them before a build.
    from prefect.runtime import flow_run

    parameters: Mapping[str, Any] = flow_run.parameters
    return parameters


def _image_names(images: list[str]) -> str:
    """Images by name, also where a path was given; only how many when they are many."""
    names = [Path(str(image)).stem for image in images]
    return ", ".join(names) if len(names) <= _NAMED_IMAGES else f"{len(names)} images"
