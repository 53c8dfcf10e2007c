"""Definitions from AgentBaker's component lists."""

from images.agentbaker.importer import import_as_yaml, import_definition
from images.agentbaker.rendering import render_definition

__all__ = ["import_as_yaml", "import_definition", "render_definition"]
