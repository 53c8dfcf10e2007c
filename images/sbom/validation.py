"""Whether a bill is what the CycloneDX schema asks for, by cyclonedx-python-lib's own copy of the schema."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

_CHUNK = 200
"""JSON Schema's uniqueItems compares every item with every other one: 10,000 components at once take minutes, in parts seconds."""


def sbom_problems(text: str) -> tuple[str, ...]:
    """What is wrong with a bill in CycloneDX 1.6 JSON: against its strict schema, bom-refs that occur twice or lead nowhere."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    document = json.loads(text)
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    for part in _parts(document):
        error = validator.validate_str(json.dumps(part))
        if error is not None:
            return (str(error).splitlines()[0],)
    return tuple(_reference_problems(document))


def _parts(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    lists = {name: document[name] for name in ("components", "dependencies") if isinstance(document.get(name), list)}
    longest = max((len(items) for items in lists.values()), default=0)
    for start in range(0, max(longest, 1), _CHUNK):
        yield document | {name: items[start : start + _CHUNK] for name, items in lists.items()}


def _reference_problems(document: dict[str, Any]) -> Iterator[str]:
    refs = [document["metadata"]["component"]["bom-ref"], *(component["bom-ref"] for component in document["components"])]
    known = set(refs)
    if len(known) != len(refs):
        twice = sorted(ref for ref in known if refs.count(ref) > 1)
        yield f"bom-refs that occur twice: {', '.join(twice)}"
    for dependency in document["dependencies"]:
        unknown = {dependency["ref"], *dependency.get("dependsOn", ())} - known
        if unknown:
            yield f"the dependencies of {dependency['ref']} lead nowhere: {', '.join(sorted(unknown))}"
