"""Reading image definitions: files, names, faults, digest and schema."""

from images.loading.definitions import (
    DEFINITIONS,
    REPOSITORY,
    definition_digest,
    definition_names,
    find_definition,
    load_definition,
    read_uploads,
)
from images.loading.schema import SCHEMA_FILE, definition_schema, render_schema

__all__ = [
    "DEFINITIONS",
    "REPOSITORY",
    "SCHEMA_FILE",
    "definition_digest",
    "definition_names",
    "definition_schema",
    "find_definition",
    "load_definition",
    "read_uploads",
    "render_schema",
]
