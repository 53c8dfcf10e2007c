"""Read the captured disk, and hold it against the live inventory and the promises."""

from __future__ import annotations

from contextlib import AbstractContextManager

from images.agreement import compare_live_and_offline, compare_with_promise
from images.definition import ImageDefinition
from images.errors import InventoryMismatchError
from images.inventory import Inventory
from images.lock import ImageLock
from images.plan import BuildPlan
from images.steps.finish import inventory_input
from infra.azure.blob_storage import BuildBlobs
from infra.vhd.blob_range_reader import open_blob
from infra.vhd.inspect import Inspection, inspect_reader, open_file
from infra.vhd.range_reader import RangeReader
from tasks.build import Build
from tasks.capture_vhd import VHD_NAME
from tasks.step_task import step_task

_SAS_HOURS = 6.0


def check_promises(definition: ImageDefinition, lock: ImageLock, plan: BuildPlan, inventory: Inventory, where: str) -> None:
    """Raise InventoryMismatchError, naming each difference, when an inventory is not what definition and lock promise."""
    differences = compare_with_promise(definition, lock, plan, inventory)
    if differences:
        raise InventoryMismatchError(
            f"the {where} is not what was promised",
            differences=differences,
            hint="a stage did not do its work, or did more than it was asked for",
        )


def check_disk(disk: RangeReader, definition: ImageDefinition, lock: ImageLock, plan: BuildPlan, live: Inventory) -> Inspection:
    """What is on a captured disk; InventoryMismatchError, naming each difference, when that is not what ran in the VM or was promised."""
    wanted = inventory_input(definition, plan.fix)
    found = inspect_reader(
        disk, hash_files=True, cache_roots=wanted.cache_roots, tool_roots=wanted.tool_roots, registry_paths=wanted.registry_paths
    )
    differences = compare_live_and_offline(live, found.inventory)
    if differences:
        raise InventoryMismatchError(
            "the captured disk is not what ran in the VM",
            differences=differences,
            hint="the disk was changed after the inventory, or damaged",
        )
    check_promises(definition, lock, plan, found.inventory, "captured disk")
    return found


@step_task("inspect-vhd", "Inspect the captured disk")
def inspect_vhd(
    build: Build, definition: ImageDefinition, lock: ImageLock, plan: BuildPlan, live: Inventory, blobs: BuildBlobs
) -> Inventory:
    """The inventory read from the disk alone; InventoryMismatchError when it disagrees with the live one or the promises.

    The file in the build's folder where there is one, else the parts of the blob that the inspection needs.
    """
    with build.timings.step("inspect the captured disk") as step, _captured_disk(build, blobs) as disk:
        found = check_disk(disk, definition, lock, plan, live)
        step.progress(f"read {found.bytes_read} of {found.disk_bytes} bytes in {found.seconds:.1f} s")
        return found.inventory


def _captured_disk(build: Build, blobs: BuildBlobs) -> AbstractContextManager[RangeReader]:
    path = build.folder / VHD_NAME
    if path.exists():
        return open_file(path)
    url = blobs.read_sas(VHD_NAME, hours=_SAS_HOURS).get_secret_value()
    return open_blob(url, first_wait_s=build.cloud.profile.poll_interval_s)
