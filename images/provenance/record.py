"""The provenance of one build."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pydantic import JsonValue

from images.definition import ImageDefinition
from images.fingerprint import digest
from images.loading import definition_digest
from images.lock import ImageLock
from images.notes.facts import ReleaseFacts
from images.plan import BuildPlan
from images.provenance.statement import (
    SIZE,
    BuildDefinition,
    Builder,
    Provenance,
    ResourceDescriptor,
    RunDetails,
    RunMetadata,
    Statement,
)
from images.sbom.purls import file_purl, oci_purl

BUILD_TYPE: Final = "urn:winvhd:build-image:v1"
"""One build by the flow build-image: externalParameters are the flow's parameters and the digest of the definition they name,
internalParameters what the plan says of the VM, byproducts the fingerprints of the layers."""

BUILDER: Final = "urn:winvhd:builder"
"""Completed by the name of the cloud profile on which a build ran."""


@dataclass(frozen=True)
class FileDigest:
    """A file that a build made."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class BuildRun:
    """When a build ran, for whom and with what; copy_to is empty when nothing was copied."""

    cloud: str
    copy_to: str
    started: datetime
    finished: datetime
    versions: Mapping[str, str]


def record_provenance(
    facts: ReleaseFacts, definition: ImageDefinition, lock: ImageLock, plan: BuildPlan, run: BuildRun, made: Mapping[str, FileDigest]
) -> Statement:
    """The statement about everything a build made, by file name."""
    asked: dict[str, JsonValue] = {"image": facts.image, "cloud": run.cloud, "definitionSha256": definition_digest(definition)}
    if run.copy_to:
        asked["copyTo"] = run.copy_to
    return Statement(
        subject=tuple(
            ResourceDescriptor(name=name, digest={"sha256": file.sha256}, annotations={SIZE: file.size_bytes})
            for name, file in sorted(made.items())
        ),
        predicate=Provenance(
            build_definition=BuildDefinition(
                build_type=BUILD_TYPE,
                external_parameters=asked,
                internal_parameters={
                    "imageVersion": facts.image_version,
                    "osDiskGib": plan.os_disk_gib,
                    "generation": plan.base.generation.value,
                    "private": plan.private,
                    "lockOrigin": lock.origin.value,
                },
                resolved_dependencies=tuple(_dependencies(facts, definition, lock, plan)),
            ),
            run_details=RunDetails(
                builder=Builder(id=f"{BUILDER}:{run.cloud}", version=dict(sorted(run.versions.items()))),
                metadata=RunMetadata(invocation_id=facts.build_id, started_on=run.started, finished_on=run.finished),
                byproducts=tuple(
                    ResourceDescriptor(name=f"layer {layer.name.value}", digest={"sha256": layer.fingerprint}) for layer in plan.layers
                ),
            ),
        ),
    )


def _dependencies(facts: ReleaseFacts, definition: ImageDefinition, lock: ImageLock, plan: BuildPlan) -> Iterator[ResourceDescriptor]:
    yield ResourceDescriptor(name="base image", uri=f"urn:azure:marketplace-image:{plan.base.urn}")
    if facts.source.commit:
        # The scheme is that of pip and SPDX: git+ before the address of the repository.
        repository = facts.source.repository
        uri = f"git+{repository}" if repository else None
        yield ResourceDescriptor(name="source", uri=uri, digest={"gitCommit": facts.source.commit})
    yield ResourceDescriptor(name="lock", digest={"sha256": digest(lock.model_dump(mode="json"))})
    for update in lock.updates:
        if update.file is None:
            # The Windows Update agent found the package: only its number is known beforehand.
            yield ResourceDescriptor(name=update.kb)
        else:
            yield _file(update.kb, update.file.url, update.file.sha256)
    for file in lock.files:
        yield _file(file.url.partition("?")[0].rstrip("/").rpartition("/")[2], file.url, file.sha256)
    for image in lock.container_images:
        yield _oci(image.reference, image.digest)
    for artifact in lock.oci_artifacts:
        yield _oci(artifact.reference, artifact.digest)
        for part in artifact.files:
            yield ResourceDescriptor(name=part.title, digest={"sha256": part.sha256}, annotations={"partOf": artifact.reference})
    for package in definition.private_packages:
        # Where it comes from is a secret; what it is, is not.
        yield ResourceDescriptor(name=package.file_name, digest={"sha256": package.sha256})


def _file(name: str, url: str, sha256: str) -> ResourceDescriptor:
    return ResourceDescriptor(name=name, uri=file_purl(name, sha256=sha256, url=url), digest={"sha256": sha256}, download_location=url)


def _oci(reference: str, manifest: str) -> ResourceDescriptor:
    return ResourceDescriptor(name=reference, uri=oci_purl(reference, manifest), digest={"sha256": manifest.removeprefix("sha256:")})
