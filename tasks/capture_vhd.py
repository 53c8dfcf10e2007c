"""From a generalized VM to a verified VHD, in blob storage and on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from images.errors import CaptureError, StageError
from images.stages.finish import GENERALIZE, GeneralizeInput
from infra.azure.blob_storage import BuildBlobs
from infra.azure.disk_capture import CapturedVhd, VhdBlob, capture, read_back
from infra.azure.page_blob import ContentHash, download_vhd, hash_page_blob
from infra.azure.vm_power import deallocate, wait_for_power_state
from infra.azure.vm_request import BuildVm
from infra.guest.link import GuestLink
from tasks.build import Build
from tasks.collect_guest_logs import keep_guest_logs
from tasks.run_stage import stage_run_id
from tasks.step_task import step_task

if TYPE_CHECKING:
    from azure.storage.blob import BlobClient

VHD_NAME = "image.vhd"
SHUTDOWN_TIMEOUT_S = 900


@step_task("generalize", "Generalize")
def generalize_guest(build: Build, vm: BuildVm, link: GuestLink, stage_input: GeneralizeInput, *, layer: str) -> None:
    """Last contact: sysprep, then the guest removes the build's traces and shuts down; raises CaptureError when it does not."""
    with build.timings.step(GENERALIZE.title, layer=layer) as step:
        try:
            link.generalize(
                stage_input,
                run_id=stage_run_id(build, GENERALIZE, layer, "last contact"),
                on_progress=lambda event: step.progress(event.message, event.done, event.total),
            )
        except StageError as error:
            if error.code != "sysprep-stuck":
                raise
            log = build.folder / "sysprep-errors.txt"
            log.write_text(f"{error.what}\n{error.stderr_tail}\n", encoding="utf-8")
            stuck = CaptureError(
                f"sysprep did not finish: {error.what}",
                where="stage invoke-generalize",
                hint="setuperr.log names the component; remove it or fix it in an earlier stage",
                kept=f"the setup logs are in {log}",
            )
            # Azure's agents are gone by now: what the script could not say is on the disk only.
            keep_guest_logs(stuck, build, vm, agent_is_there=False)
            raise stuck from error
        wait_for_power_state(build.cloud, vm, "stopped", timeout_s=SHUTDOWN_TIMEOUT_S)


@step_task("capture-vhd", "Capture the VHD")
def capture_vhd(build: Build, vm: BuildVm, blobs: BuildBlobs) -> VhdBlob:
    """The VM's OS disk as a VHD in the builds container, its length and footer verified; raises CaptureError and CloudError."""
    with build.timings.step("capture the VHD") as step:
        step.progress(f"deallocating {vm.name}")
        deallocate(build.cloud, vm)
        # Its cores are free from here on, so that the test VM never waits for the VM that it tests.
        build.slots.give_back("build")
        return capture(
            build.cloud, vm, blobs, VHD_NAME, on_progress=lambda done, total: step.progress("copying", done, total), on_event=step.progress
        )


@step_task("read-back-vhd", "Read the VHD back")
def read_vhd_back(build: Build, blobs: BuildBlobs, vhd: VhdBlob) -> CapturedVhd:
    """The VHD with its hash; on the stand-in also as out/<build_id>/image.vhd, sparse, by the same reading.

    Raises CaptureError, CloudError.
    """
    # On Azure a VHD has tens of GiB: it stays where it is.
    keep = build.cloud.profile.name == "local"
    with build.timings.step("download the VHD" if keep else "hash the VHD") as step:

        def shown(done: int, total: int | None) -> None:
            step.progress("reading", done, total)

        def read(blob: BlobClient) -> ContentHash:
            return download_vhd(blob, build.folder / VHD_NAME, on_progress=shown) if keep else hash_page_blob(blob, on_progress=shown)

        return read_back(blobs, vhd, read, VHD_NAME)
