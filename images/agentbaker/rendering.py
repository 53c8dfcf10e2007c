"""A definition as the YAML that a person would write: stable, commented, without what is default anyway."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import yaml
from pydantic import JsonValue

from images.definition import ImageDefinition

# In the order of the file; a field without a comment explains itself.
_COMMENTS: Final[Mapping[str, str]] = {
    "schema_version": "",
    "name": "",
    "description": "",
    "base": "The marketplace image: az vm image list --all gives the versions.",
    "os_disk_gib": "",
    "features": "By their names in Install-WindowsFeature.",
    "capabilities": "Features on demand, by full name.",
    "updates": "Installed in this order; wusa or DISM is chosen by file and build.",
    "follow_updates": "The lock takes the newest of these from Microsoft's update feed.",
    "container_runtime": "Installed and started as a service; its archive is one of the packages below.",
    "container_images": "Pulled into containerd's namespace k8s.io; the lock pins each tag to a digest.",
    "packages": "Files that a node looks up by base name, so that it need not download them; the lock pins each to a SHA-256.",
    "oci_artifacts": "Artifacts of a registry; each layer with a title becomes a file.",
    "private_packages": "Files whose URLs are secret.",
    "registry": "Set after the runtime and once more at the end, since installers reset some of them.",
    "system": "",
    "defender": "",
    "expand_volume_task": "",
    "files": "From this repository.",
    "minimum_free_gib": "",
    "e2e_suites": "",
}


class _Dumper(yaml.SafeDumper):
    """Lists are indented below their field."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        del indentless
        super().increase_indent(flow, False)


def render_definition(definition: ImageDefinition, *, header: str = "") -> str:
    """The definition as YAML text; the same definition always gives the same bytes, and loading them gives the definition back."""
    content: dict[str, JsonValue] = definition.model_dump(mode="json", exclude_defaults=True)
    # Worth reading although they have defaults.
    content["schema_version"] = definition.schema_version
    content["base"] = definition.base.model_dump(mode="json", exclude={"trusted_launch"} if not definition.base.trusted_launch else None)
    lines = [f"# {line}".rstrip() for line in header.splitlines()]
    for field, comment in _COMMENTS.items():
        if field not in content:
            continue
        dumped: Any = yaml.dump({field: content[field]}, Dumper=_Dumper, sort_keys=False, width=10_000, allow_unicode=True)
        block = isinstance(content[field], dict | list)
        if lines and (block or comment):
            lines.append("")
        if comment:
            lines.append(f"# {comment}")
        lines.extend(str(dumped).rstrip("\n").splitlines())
    return "\n".join(lines) + "\n"
