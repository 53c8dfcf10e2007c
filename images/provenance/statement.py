"""The shape of a provenance: in-toto Statement v1 with the SLSA v1 predicate.

Fields: https://github.com/in-toto/attestation, spec/v1/statement.md and spec/v1/resource_descriptor.md; https://slsa.dev/spec/v1.1/provenance.
Both ask readers to ignore fields that they do not know.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError
from pydantic.alias_generators import to_camel

from images.errors import VerificationError

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://slsa.dev/provenance/v1"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
"""What a signature covers, besides the bytes of the statement."""

SIZE: Final = "sizeBytes"
"""Annotation of a subject: its size in bytes."""


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, validate_by_name=True, validate_by_alias=True)


class ResourceDescriptor(_Wire):
    """Something that went into a build or came out of it; digests are in hexadecimal by the name of their algorithm."""

    name: str | None = None
    uri: str | None = None
    digest: dict[str, str] | None = None
    download_location: str | None = None
    annotations: dict[str, JsonValue] | None = None

    @property
    def sha256(self) -> str:
        """The SHA-256, or "" when there is none."""
        return (self.digest or {}).get("sha256", "")


class BuildDefinition(_Wire):
    """What was asked for (external), what the builder added (internal), and everything that was taken in."""

    build_type: str
    external_parameters: dict[str, JsonValue]
    internal_parameters: dict[str, JsonValue]
    resolved_dependencies: tuple[ResourceDescriptor, ...]


class Builder(_Wire):
    """Who built, and with which versions of its parts."""

    id: str
    version: dict[str, str]


class RunMetadata(_Wire):
    """Which run it was, and when; times in UTC."""

    invocation_id: str
    started_on: datetime
    finished_on: datetime


class RunDetails(_Wire):
    """How this build went; its byproducts are the fingerprints of the layers."""

    builder: Builder
    metadata: RunMetadata
    byproducts: tuple[ResourceDescriptor, ...]


class Provenance(_Wire):
    """SLSA's predicate."""

    build_definition: BuildDefinition
    run_details: RunDetails


class Statement(_Wire):
    """Subjects and what is said about them."""

    type: Literal["https://in-toto.io/Statement/v1"] = Field(default=STATEMENT_TYPE, alias="_type")
    subject: tuple[ResourceDescriptor, ...] = Field(min_length=1)
    predicate_type: Literal["https://slsa.dev/provenance/v1"] = PREDICATE_TYPE
    predicate: Provenance

    def render(self) -> str:
        """The statement as JSON; the same statement gives the same bytes."""
        return json.dumps(self.model_dump(mode="json", by_alias=True, exclude_none=True), indent=2, ensure_ascii=False) + "\n"


def read_statement(content: bytes) -> Statement:
    """The statement in a provenance's bytes; raises VerificationError when they hold none."""
    try:
        return Statement.model_validate_json(content)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in fault["loc"])
        raise VerificationError(
            f"the provenance is no SLSA v1 statement: {place}: {fault['msg']}", hint="give the provenance.json of a build, unchanged"
        ) from None
