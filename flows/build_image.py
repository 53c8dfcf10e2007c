"""The main job: an image definition becomes a captured, documented, boot-tested VHD."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.futures import PrefectFuture, wait

from flows.choices import CloudName, ImageChoice, build_run_name
from images.definition import E2ESuite, ImageDefinition
from images.e2e import E2ECase
from images.errors import BuildError
from images.loading import find_definition, load_definition, read_uploads
from images.lock import ImageLock
from images.plan import BuildPlan, make_plan
from infra.azure.blob_storage import BUILDS_CONTAINER, CACHE_CONTAINER, ArtifactCache, BuildBlobs, ensure_container
from infra.guest.package import guest_scripts
from infra.signing.configured import signing_key
from tasks.boot_test import boot_test, judge, plain_bootstrap
from tasks.build import Build, open_build
from tasks.capture_vhd import capture_vhd, download_image
from tasks.contact_guest import contacted
from tasks.copy_image import copy_image, parse_copy_target
from tasks.fetch_artifacts import fetch_artifacts
from tasks.inspect_vhd import inspect_vhd
from tasks.provision_vm import guest_port, provision_vm, resources_of
from tasks.release_resources import release_resources
from tasks.resolve_lock import resolve_lock
from tasks.run_layer import LayerWork
from tasks.show_plan import plan_shown
from tasks.store_results import BuiltImage, Recipe, keep_documents, store_results
from tasks.supply import ArtifactSupply, artifacts_of
from tasks.write_documents import write_publishing_info, write_sbom

_STOPPING_S = 30
"""How long a failed build waits for what runs beside it."""


@flow(
    name="build-image",
    flow_run_name=build_run_name,
    description="Builds one Windows node image: provision, install, document, capture, boot-test, optionally copy.",
    on_cancellation=[release_resources],
    on_crashed=[release_resources],
)
def build_image(image: ImageChoice, cloud: CloudName = "local", copy_to: str = "") -> dict[str, Any]:
    """Build one image and leave it, with its documents, in blob storage and under out/.

    Args:
        image: The image definition to build (images/definitions).
        cloud: Where to build it. local is the stand-in cloud on the worker's machine, azure your subscription.
        copy_to: Storage account and container that get a verified copy of the VHD, as ACCOUNT/CONTAINER. Empty for no copy.
    """
    file = find_definition(image)
    definition = load_definition(file)
    key = signing_key()
    with open_build(definition.name, cloud) as build:
        if copy_to:
            parse_copy_target(build, copy_to)
        with build.timings.step("resolve the lock") as step:
            lock = resolve_lock(definition, file, build.cloud, progress=step.progress)
        plan = make_plan(definition, lock, scripts=guest_scripts(), uploads=read_uploads(definition))
        (build.folder / "plan.json").write_text(plan.model_dump_json(indent=2) + "\n", encoding="utf-8")
        for container in (CACHE_CONTAINER, BUILDS_CONTAINER):
            ensure_container(build.cloud, container)
        blobs = BuildBlobs(build.cloud, build.build_id)
        try:
            with plan_shown(build, plan), resources_of(build):
                built = build_once(build, definition, lock, plan, blobs)
                if copy_to:
                    built.copied = copy_image(build, built.captured, copy_to)
        except BuildError as error:
            keep_documents(build, blobs, error)
            raise
        return store_results(build, built, Recipe(definition, lock, plan), blobs, key)


def build_once(build: Build, definition: ImageDefinition, lock: ImageLock, plan: BuildPlan, blobs: BuildBlobs) -> BuiltImage:
    """One attempt, from the first VM to the last check; raises what a step raises, after what runs beside it has ended."""
    profile = build.cloud.profile
    supply = ArtifactSupply(ArtifactCache(build.cloud), profile.route, first_wait_s=profile.poll_interval_s)
    wanted = artifacts_of(lock)
    supply.expect(wanted)
    fetching = fetch_artifacts.submit(build, supply, wanted)
    fetching.add_done_callback(lambda _: supply.abandon())
    beside: list[PrefectFuture[Any]] = [fetching]
    try:
        port = guest_port(build)
        vm = provision_vm(build, plan, port)
        with_plain = E2ESuite.PLAIN_BOOTSTRAP in definition.e2e_suites
        plain = plain_bootstrap.submit(build, definition, lock, plan) if with_plain else None
        beside += [plain] if plain else []
        with contacted(build, vm, port) as link:
            work = LayerWork(build, definition, lock, plan, vm, link, supply)
            for layer in plan.layers:
                work.run(layer)
        fetching.result()
        captured = capture_vhd(build, vm, blobs)
        booting = boot_test.submit(build, definition, lock, plan, captured)
        beside.append(booting)
        if profile.name == "local":
            # On Azure a VHD has tens of GiB, and the inspection reads what it needs from the blob.
            download_image(build, blobs, captured)
        inspect_vhd(build, definition, lock, plan, work.facts.inventory, blobs)
        write_publishing_info(build.folder, work.facts, captured)
        write_sbom(build, work.facts, definition, lock, captured)
        cases: list[E2ECase] = [*booting.result(), *(plain.result() if plain else [])]
        judge(build, definition, cases)
        return BuiltImage(work.facts, captured, cases)
    except BaseException:
        # What runs beside must not make anything in a group that is about to be deleted.
        build.stopping.set()
        supply.stop()
        wait(beside, timeout=_STOPPING_S)
        raise
