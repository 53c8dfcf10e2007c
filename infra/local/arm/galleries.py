"""Image galleries: not implemented, except for the name that a version must have."""

from __future__ import annotations

import re

from infra.local.arm.errors import invalid, not_implemented
from infra.local.arm.exchange import COMPUTE, Answer, Call, Route

INT32_MAX = 2**31 - 1


def routes() -> list[Route]:
    """PUT of an image version."""
    return [Route("PUT", f"{COMPUTE}/galleries/{{gallery}}/images/{{image}}/versions/{{version}}", _put_version)]


def _put_version(call: Call) -> Answer:
    check_version(call.parameters["version"])
    raise not_implemented("PUT", "galleries/images/versions")


def check_version(version: str) -> None:
    """Raises ArmError unless it is Major.Minor.Patch, each a 32-bit integer (learn.microsoft.com, "Azure Compute Gallery")."""
    parts = version.split(".")
    if len(parts) != 3 or not all(re.fullmatch(r"\d{1,10}", part) and int(part) <= INT32_MAX for part in parts):
        raise invalid(
            f"The value of parameter galleryImageVersionName '{version}' is invalid: it must be three 32-bit integers joined by dots.",
            "galleryImageVersionName",
        )
