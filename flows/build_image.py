"""The main job: an image definition becomes a captured, documented, boot-tested VHD."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.choices import CloudName, ImageChoice, Rebuild, build_run_name
from images.errors import BuildError
from images.loading import find_definition, load_definition, read_uploads
from images.plan import make_plan
from images.privacy import scope_of
from infra.azure.blob_storage import BuildBlobs
from infra.guest.package import guest_scripts
from infra.signing.configured import signing_key
from tasks.build import open_build, open_containers
from tasks.build_once import build_once
from tasks.copy_image import copy_image, parse_copy_target, refuse_private_copy
from tasks.earlier_image import earlier_result, find_earlier
from tasks.live_plan import plan_announced
from tasks.provision_vm import resources_of
from tasks.release_resources import release_resources
from tasks.resolve_lock import resolve_lock
from tasks.show_plan import plan_shown
from tasks.store_results import Recipe, keep_documents, record_history, show_in_prefect, store_results


@flow(
    name="build-image",
    flow_run_name=build_run_name,
    description="Builds one Windows node image: provision, install, document, capture, boot-test, optionally copy.",
    on_cancellation=[release_resources],
    on_crashed=[release_resources],
)
def build_image(image: ImageChoice, cloud: CloudName = "local", copy_to: str = "", rebuild: Rebuild = "changed") -> dict[str, Any]:
    """Build one image and leave it, with its documents, in blob storage and under out/.

    Args:
        image: The image definition to build (images/definitions).
        cloud: Where to build it. local is the stand-in cloud on the worker's machine, azure your subscription.
        copy_to: Storage account and container that get a verified copy of the VHD, as ACCOUNT/CONTAINER. Empty for no copy.
        rebuild: What to build again. changed builds what has changed since the last checkpoint, and nothing when nothing has;
            image always makes a new image, on top of the layers that are there; everything starts at the base image.
    """
    file = find_definition(image)
    definition = load_definition(file)
    key = signing_key()
    with open_build(definition.name, cloud, scope=scope_of(definition)) as build:
        if copy_to:
            parse_copy_target(build, copy_to)
        open_containers(build)
        with build.timings.step("resolve the lock") as step:
            lock = build.shared.locks.get(definition.name) or resolve_lock(definition, file, build.cloud, progress=step.progress)
        plan = make_plan(definition, lock, scripts=guest_scripts(), uploads=read_uploads(definition), scope=build.scope)
        if copy_to:
            refuse_private_copy(build, plan, copy_to)
        earlier = find_earlier(build, plan) if rebuild == "changed" else None
        if earlier is not None:
            result, captured, name = earlier_result(build, earlier), earlier.captured, earlier.build_id
        else:
            recipe = Recipe(definition, lock, plan)
            (build.folder / "plan.json").write_text(plan.model_dump_json(indent=2) + "\n", encoding="utf-8")
            blobs = BuildBlobs(build.cloud, build.build_id, container=build.builds_container)
            try:
                with plan_announced(build, plan), plan_shown(build, plan), resources_of(build, plan):
                    built = build_once(build, recipe, blobs, from_scratch=rebuild == "everything")
            except BuildError as error:
                keep_documents(build, blobs, error)
                raise
            finally:
                record_history(build)
            result = store_results(build, built, recipe, blobs, key, copy_to=copy_to)
            show_in_prefect(build, built)
            captured, name = built.captured, build.build_id
        if copy_to:
            result["copied_to"] = copy_image(build, plan, captured, copy_to, name).url
        return result
