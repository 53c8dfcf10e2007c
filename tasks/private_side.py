"""One side of a private validation: the image with or without the fix, built and tested where nobody else can see it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from images.definition import E2ESuite, ImageDefinition
from images.e2e import E2ECase
from images.errors import BuildError, CancelledError, CloudError, ConfigurationError, PrivateValidationError, StageError
from images.loading import read_uploads
from images.lock import ImageLock
from images.plan import make_plan
from images.privacy import fix_was_present
from images.private_fix import PrivateFix
from images.stages import STAGES
from images.stages.fix import FIX_STAGES, HINTS
from images.timings import StepTiming
from infra.azure.blob_storage import BuildBlobs
from infra.azure.private_container import private_containers
from infra.guest.package import guest_scripts
from infra.prefect.private_fix_source import private_fix_url
from infra.private_folders import delete_folder
from infra.redaction import secret_parts
from tasks.build import Build, open_build, open_containers
from tasks.build_once import build_once
from tasks.live_plan import plan_announced
from tasks.progress import hidden_from_prefect, run_logger
from tasks.provision_vm import resources_of
from tasks.store_results import Recipe, keep_documents, store_results, upload_documents

LOG_NAME = "build-log.txt"


@dataclass(frozen=True)
class Side:
    """What to build: the definition with its lock, and the fix on the patched side."""

    name: str
    cloud: str
    definition: ImageDefinition
    lock: ImageLock
    fix: PrivateFix | None
    scope: str
    expires_at: datetime
    suites: tuple[E2ESuite, ...]
    block: str
    """Name of the block with the fix's address: both sides keep that out of their logs."""


@dataclass(frozen=True)
class SideResult:
    """Every run of every check on one side, and what may be told of the build."""

    name: str
    cases: Sequence[E2ECase]
    already_present: bool | None
    steps: Sequence[StepTiming]
    seconds: float

    def summary(self) -> dict[str, Any]:
        """Layers built and reused, VMs, seconds: nothing that tells what was built."""
        layers: dict[str, list[str]] = {"built": [], "reused": []}
        for name in dict.fromkeys(step.layer for step in self.steps if step.layer):
            reused = all(step.outcome == "reused" for step in self.steps if step.layer == name)
            layers["reused" if reused else "built"].append(name)
        vms = sum(step.name in ("build VM", "boot test VM", "plain base image VM") and step.outcome == "built" for step in self.steps)
        return {"layers_built": layers["built"], "layers_reused": layers["reused"], "vms": vms, "seconds": self.seconds}


@task(name="build-side", task_run_name="{side.name} image", cache_policy=NO_CACHE, persist_result=False)
def build_side(side: Side) -> SideResult:
    """Build and test one side; everything about it goes to the private container, nothing of it to Prefect.

    Raises PrivateValidationError, which says what kind of thing went wrong and where its details lie: in the private container, or, when
    that did not take them, in the build's folder, which goes at its expiry.
    """
    address = private_fix_url(side.block).get_secret_value()
    with open_build(side.name, side.cloud, scope=side.scope, private_until=side.expires_at) as build:
        blobs = BuildBlobs(build.cloud, build.build_id, container=build.builds_container)
        uploaded = keeps_folder = False
        try:
            with hidden_from_prefect(build.folder / LOG_NAME, secret_parts(address)):
                try:
                    return _build(build, side, blobs)
                except Exception as error:
                    run_logger().error("%s", error, exc_info=not isinstance(error, BuildError))
                    uploaded = keep_documents(build, blobs, error)
                    raise
        except CancelledError:
            raise
        except Exception as error:
            if _was_purged(build):
                raise PrivateValidationError(
                    f"the private work was purged while the {side.name} image was built", hint="start the validation again if you need it"
                ) from None
            keeps_folder = not uploaded
            raise _without_details(error, side, build.folder if keeps_folder else None) from None
        finally:
            # What lies on the worker's disk is not needed any more. If it can not be deleted, the reaper tries again at its expiry.
            if not keeps_folder:
                with suppress(ConfigurationError):
                    delete_folder(build.folder)


def _build(build: Build, side: Side, blobs: BuildBlobs) -> SideResult:
    definition = side.definition
    plan = make_plan(definition, side.lock, scripts=guest_scripts(), uploads=read_uploads(definition), fix=side.fix, scope=side.scope)
    plan = plan.model_copy(update={"e2e_suites": side.suites})
    (build.folder / "plan.json").write_text(plan.model_dump_json(indent=2) + "\n", encoding="utf-8")
    open_containers(build)
    recipe = Recipe(definition, side.lock, plan)
    with plan_announced(build, plan), resources_of(build, plan):
        built = build_once(build, recipe, blobs, compare=True)
    result = store_results(build, built, recipe, blobs, None)
    # Once more: the log has grown since.
    upload_documents(build, blobs)
    present = fix_was_present(built.facts.inventory) if side.fix is not None else False
    return SideResult(side.name, built.cases, present, build.timings.steps, result["seconds"])


def _was_purged(build: Build) -> bool:
    with suppress(CloudError):
        return build.scope not in {container.scope for container in private_containers(build.cloud)}
    return False


def _without_details(error: Exception, side: Side, folder: Path | None) -> PrivateValidationError:
    """The kind of the error, and for the fix's own stages which of the known things went wrong; never its text.

    `folder` is where the log and the documents are when they are not in the private container.
    """
    place = f"the storage container {side.scope}" if folder is None else f"{folder} on the worker's machine"
    parts = [f"the {side.name} image could not be built", error.title if isinstance(error, BuildError) else "a fault of the program"]
    hint = f"read {LOG_NAME} of the {side.name} build in {place}"
    if isinstance(error, StageError) and error.stage in STAGES:
        parts.append(STAGES[error.stage].title or error.stage)
        if STAGES[error.stage] in FIX_STAGES and error.code in HINTS:
            parts.append(error.code)
            hint = HINTS[error.code]
    return PrivateValidationError(
        ": ".join(parts),
        hint=hint,
        kept=f"log and documents are in {place} until they expire; a new run uses its layers no more",
    )
