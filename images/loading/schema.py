"""The JSON Schema of image definitions, for editors and other programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from pydantic import JsonValue

from images.definition import ImageDefinition

SCHEMA_FILE: Final = Path(__file__).resolve().parents[1] / "schema" / "image-definition.schema.json"


def definition_schema() -> dict[str, JsonValue]:
    """The schema as plain data, JSON Schema 2020-12; it is made from the model and from nothing else."""
    schema = ImageDefinition.model_json_schema(mode="validation")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:winvhd:image-definition:1",
        **schema,
        "title": "Windows node image definition",
    }


def render_schema() -> str:
    """The schema as the committed file holds it."""
    return json.dumps(definition_schema(), indent=2, ensure_ascii=False) + "\n"
