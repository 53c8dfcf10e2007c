"""From a generalized VM to a verified VHD, in blob storage and on this machine."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from images.errors import CaptureError, StageError
from images.stages.finish import GENERALIZE, GeneralizeInput
from infra.azure.blob_storage import BuildBlobs
from infra.azure.disk_capture import CapturedVhd, capture
from infra.azure.page_blob import download_vhd
from infra.azure.vm_power import wait_for_power_state
from infra.azure.vm_request import BuildVm
from infra.guest.link import GuestLink
from tasks.build import Build
from tasks.collect_guest_logs import keep_guest_logs
from tasks.run_stage import stage_run_id

VHD_NAME = "image.vhd"
SHUTDOWN_TIMEOUT_S = 900


@task(name="generalize", task_run_name="Generalize", cache_policy=NO_CACHE, persist_result=False)
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


@task(name="capture-vhd", task_run_name="Capture the VHD", cache_policy=NO_CACHE, persist_result=False)
def capture_vhd(build: Build, vm: BuildVm, blobs: BuildBlobs) -> CapturedVhd:
    """The VM's OS disk as a VHD in the builds container, its length, footer and hash verified; raises CaptureError and CloudError."""
    with build.timings.step("capture the VHD") as step:
        return capture(
            build.cloud, vm, blobs, VHD_NAME, on_progress=lambda done, total: step.progress("copying", done, total), on_event=step.progress
        )


@task(name="download-vhd", task_run_name="Download the VHD", cache_policy=NO_CACHE, persist_result=False)
def download_image(build: Build, blobs: BuildBlobs, captured: CapturedVhd) -> None:
    """out/<build_id>/image.vhd, sparse, with the captured hash; raises CaptureError when its bytes are others."""
    with build.timings.step("download the VHD") as step, blobs.client(VHD_NAME) as blob:
        content = download_vhd(blob, build.folder / VHD_NAME, on_progress=lambda done, total: step.progress("downloading", done, total))
        if content.sha256 != captured.sha256:
            raise CaptureError(
                f"the downloaded VHD has sha256 {content.sha256}, the captured one {captured.sha256}", hint="run the build again"
            )
