"""One attempt to build an image: its layers in one VM, what can run beside them, the capture, and the checks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

from images.definition import E2ESuite
from images.e2e import E2ECase
from images.plan import Layer
from infra.azure.blob_storage import ArtifactCache, BuildBlobs
from infra.azure.build_vm import delete_vm
from infra.azure.checkpoint_state import Checkpoint
from infra.azure.disk_capture import note_sha256
from infra.azure.vm_request import BuildVm
from tasks.boot_test import boot_test, judge, plain_bootstrap
from tasks.build import Build
from tasks.build_layers import LayerBuilder
from tasks.capture_vhd import VHD_NAME, capture_vhd, read_vhd_back
from tasks.contact_guest import contacted
from tasks.fetch_artifacts import fetch_artifacts
from tasks.inspect_vhd import inspect_vhd
from tasks.provision_vm import provision_vm
from tasks.run_layer import LayerWork
from tasks.settle_restored import settle_restored
from tasks.store_results import BuiltImage, Recipe
from tasks.supply import ArtifactSupply, artifacts_of
from tasks.write_documents import write_publishing_info, write_sbom

_STOPPING_S = 30
"""How long a failed build waits for what runs beside it."""


def build_once(build: Build, recipe: Recipe, blobs: BuildBlobs, *, from_scratch: bool = False, compare: bool = False) -> BuiltImage:
    """One attempt, from the first VM to the last check; raises what a step raises, after what runs beside it has ended.

    With `compare` a check that fails is a result like any other: it is run again, and nobody judges it here.
    """
    definition, lock, plan = recipe.definition, recipe.lock, recipe.plan
    attempt = _Attempt(build, recipe)
    try:
        plain = None
        if E2ESuite.PLAIN_BOOTSTRAP in plan.e2e_suites:
            plain = attempt.beside(plain_bootstrap.submit(attempt.pool, build, definition, lock, plan))
        digest = hashlib.sha256(lock.model_dump_json().encode()).hexdigest()
        work = LayerBuilder(build, plan, digest, attempt.open_guest, from_scratch).run()
        attempt.fetched()
        vhd = capture_vhd(build, work.vm, blobs)
        booting = attempt.beside(boot_test.submit(attempt.pool, build, definition, lock, plan, vhd.url, settle=compare))
        reading = attempt.beside(read_vhd_back.submit(attempt.pool, build, blobs, vhd))
        if build.cloud.profile.name == "local":
            # The file that the reading leaves is inspected; on Azure the inspection reads what it needs from the blob, beside it.
            reading.result()
        inspect_vhd(build, definition, lock, plan, work.facts.inventory, blobs)
        captured = reading.result()
        note_sha256(blobs, captured, VHD_NAME)
        write_publishing_info(build.folder, work.facts, captured)
        write_sbom(build, work.facts, definition, lock, captured)
        cases: list[E2ECase] = [*booting.result(), *(plain.result() if plain else [])]
        if not compare:
            judge(build, definition, cases)
        attempt.end()
        return BuiltImage(work.facts, captured, cases)
    except BaseException:
        attempt.stop()
        raise


class _Attempt:
    """What runs beside the build VM, and how that VM is made."""

    def __init__(self, build: Build, recipe: Recipe) -> None:
        self._build = build
        self._recipe = recipe
        profile = build.cloud.profile
        cache = ArtifactCache(build.cloud, container=build.cache_container)
        self._supply = ArtifactSupply(cache, profile.route, first_wait_s=profile.poll_interval_s)
        # Fetch, plain base image, boot test, reading the VHD back.
        self.pool = ThreadPoolExecutor(4, thread_name_prefix=build.build_id[-12:])
        self._beside: list[Future[Any]] = []
        self._fetching: list[Future[None]] = []

    def beside(self, future: Future[Any]) -> Future[Any]:
        """Remember a task that runs beside, so that the attempt does not end before it."""
        self._beside.append(future)
        return future

    def fetched(self) -> None:
        """Raise what fetching raised: an artifact that no stage happened to wait for is a fault of the lock all the same."""
        for fetching in self._fetching:
            fetching.result()

    def stop(self) -> None:
        """What runs beside must not make anything in a group that is about to be deleted."""
        self._build.stopping.set()
        self._supply.stop()
        wait(self._beside, timeout=_STOPPING_S)
        self.end()

    def end(self) -> None:
        """No more tasks; a thread that still hangs in one does not keep the build."""
        self.pool.shutdown(wait=False, cancel_futures=True)

    @contextmanager
    def open_guest(self, start: Checkpoint | None, layers: tuple[Layer, ...]) -> Iterator[LayerWork]:
        """A build VM for these layers; what they need is fetched while it boots. One whose work was not finished is deleted."""
        build, recipe = self._build, self._recipe
        self._fetch(layers)
        vm = provision_vm(build, recipe.plan, start)
        with contacted(build, vm) as link:
            if start is not None:
                settle_restored(build, link, start)
            work = LayerWork(build, recipe.definition, recipe.lock, recipe.plan, vm, link, self._supply)
            yield work
        if not work.is_finished:
            self._give_up(vm)

    def _fetch(self, layers: tuple[Layer, ...]) -> None:
        needed = {token for layer in layers for stage in layer.stages for token in stage.tokens}
        # For the second VM of an attempt the files of the first may still be on their way: nobody else may bring them.
        wanted = self._supply.expect(artifact for artifact in artifacts_of(self._recipe.lock) if f"cache:{artifact.sha256}" in needed)
        if not wanted:
            return
        fetching = fetch_artifacts.submit(self.pool, self._build, self._supply, wanted)
        fetching.add_done_callback(lambda _: self._supply.abandon(wanted))
        self._fetching.append(fetching)
        self.beside(fetching)

    def _give_up(self, vm: BuildVm) -> None:
        with self._build.timings.step("give the VM up: another build has the next layer"):
            delete_vm(self._build.cloud, vm.resource_group, vm.name)
        self._build.slots.give_back("build")
