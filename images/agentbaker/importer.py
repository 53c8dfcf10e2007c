"""The importer: one SKU of AgentBaker's two files as an image definition."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from images.agentbaker import components as component_list
from images.agentbaker import conventions
from images.agentbaker import settings as windows_settings
from images.agentbaker.rendering import render_definition
from images.agentbaker.source import read_source
from images.definition import ImageDefinition
from images.errors import DefinitionError, Problem

_NOT_TAKEN = "no definition takes this value: correct it in AgentBaker's file"


def import_definition(components: Path, settings: Path, sku: str) -> ImageDefinition:
    """The definition of a SKU such as 2022-containerd; raises DefinitionError with every fault of both files that concerns it."""
    component_source, settings_source = read_source(components), read_source(settings)
    try:
        base, os_disk_gib = windows_settings.base_image(settings_source, sku)
        packages = component_list.packages(component_source, sku)
        fields = {
            "name": f"windows-{sku}",
            "description": f"AKS node image, AgentBaker SKU {sku}",
            "base": base,
            "os_disk_gib": os_disk_gib,
            "features": conventions.FEATURES,
            "capabilities": conventions.CAPABILITIES,
            "updates": windows_settings.updates(settings_source, sku),
            "container_runtime": conventions.container_runtime(sku, packages),
            "container_images": component_list.container_images(component_source, sku),
            "packages": packages,
            "oci_artifacts": component_list.oci_artifacts(component_source, sku),
            "registry": windows_settings.registry(settings_source, sku),
            "system": conventions.SYSTEM,
            "files": conventions.FILES,
        }
    except ValidationError as error:
        raise DefinitionError(
            [
                Problem(component_source.file, 0, error.title, f"{detail['msg']}: {detail['input']!r}", _NOT_TAKEN)
                for detail in error.errors(include_url=False)
            ]
        ) from error
    problems = [*component_source.problems, *settings_source.problems]
    if problems:
        raise DefinitionError(problems)
    try:
        return ImageDefinition.model_validate(fields)
    except ValidationError as error:
        raise DefinitionError(
            [
                Problem(component_source.file, 0, ".".join(map(str, detail["loc"])), f"{detail['msg']}: {detail['input']!r}", _NOT_TAKEN)
                for detail in error.errors(include_url=False)
            ]
        ) from error


def import_as_yaml(components: Path, settings: Path, sku: str) -> str:
    """The definition of a SKU as a file's text, with its origin on top; the same inputs give the same bytes."""
    header = (
        f"Made from components.json and windows_settings.json of Azure/AgentBaker (MIT, see NOTICE) by\n"
        f"    winvhd import agentbaker --components components.json --settings windows_settings.json --sku {sku}"
    )
    return render_definition(import_definition(components, settings, sku), header=header)
