"""The plan for programs: one JSON object."""

from __future__ import annotations

from pydantic import JsonValue

from images.fingerprint import digest
from images.planning.expected import Expected
from images.planning.work import PlannedWork


def outlook_json(work: PlannedWork, expected: Expected) -> dict[str, JsonValue]:
    """The plan, its digest, and beside them what may be another number tomorrow."""
    plan = work.model_dump(mode="json")
    return {"plan": plan, "plan_sha256": digest(plan), "expected": expected.model_dump(mode="json")}
