"""The provenance of a build: what it made and from what, signed when a key is configured."""

from __future__ import annotations

import hashlib
import importlib.metadata
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from images.definition import ImageDefinition
from images.lock import ImageLock
from images.notes.facts import ReleaseFacts
from images.plan import BuildPlan
from images.provenance.record import BuildRun, FileDigest, record_provenance
from images.provenance.statement import PAYLOAD_TYPE
from infra.azure.disk_capture import CapturedVhd
from infra.signing.envelope import seal
from infra.signing.keys import SigningKey
from tasks.build import Build
from tasks.capture_vhd import VHD_NAME

PROVENANCE_NAME: Final = "provenance.json"
ENVELOPE_NAME: Final = "provenance.dsse.json"
_PARTS = ("winvhd", "prefect", "azure-mgmt-compute", "azure-storage-blob", "pywinrm")


def file_digest(path: Path) -> FileDigest:
    """SHA-256 and size of a file."""
    with path.open("rb") as file:
        return FileDigest(hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size)


def write_provenance(
    build: Build,
    facts: ReleaseFacts,
    definition: ImageDefinition,
    lock: ImageLock,
    plan: BuildPlan,
    captured: CapturedVhd,
    *,
    copy_to: str,
    key: SigningKey | None,
) -> None:
    """Write provenance.json about every file in the build's folder, and with a key provenance.dsse.json, its signed envelope."""
    envelope = build.folder / ENVELOPE_NAME
    # An earlier attempt of this build may have left one.
    envelope.unlink(missing_ok=True)
    made = {
        path.name: file_digest(path)
        for path in build.folder.iterdir()
        if path.is_file() and path.name not in (VHD_NAME, PROVENANCE_NAME) and not path.name.startswith(".")
    }
    # The download was already held against the captured hash.
    made[VHD_NAME] = FileDigest(captured.sha256, captured.size_bytes)
    run = BuildRun(
        cloud=build.cloud.profile.name,
        copy_to=copy_to,
        started=build.started,
        finished=datetime.now(UTC),
        versions={name: importlib.metadata.version(name) for name in _PARTS},
    )
    content = record_provenance(facts, definition, lock, plan, run, made).render()
    (build.folder / PROVENANCE_NAME).write_text(content, encoding="utf-8")
    if key is not None:
        envelope.write_text(seal(content.encode(), PAYLOAD_TYPE, key), encoding="utf-8")
