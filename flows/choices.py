"""What a person meets in the Prefect UI: parameters as lists to choose from, and the names of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from images.loading import definition_names

CloudName = Literal["local", "azure"]
ReleaseKind = Literal["b-week", "preview"]
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


def build_run_name() -> str:
    """Name of the current build run: its definition by name, also where a path was given, and the cloud."""
    # Not at the top: Prefect reads its settings when it is first imported, and the command line makes them before a build.
    from prefect.runtime import flow_run

    given = flow_run.parameters
    return f"build {Path(str(given['image'])).stem} on {given['cloud']}"
