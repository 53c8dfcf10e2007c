"""The optional copy of the VHD to a second storage account."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from images.errors import ConfigurationError, CopyError
from infra.azure.blob_copy import CopiedVhd, VhdSource, copy_vhd, find_target, split_target
from infra.azure.disk_capture import CapturedVhd
from infra.azure.profile import StorageAccess
from tasks.build import Build


def parse_copy_target(build: Build, copy_to: str) -> tuple[StorageAccess, str]:
    """(account, container) of ACCOUNT/CONTAINER; raises ConfigurationError when it is not of this form or the account is not known."""
    account, container = split_target(copy_to)
    try:
        return find_target(build.cloud.profile.copy_targets, account), container
    except CopyError as error:
        raise ConfigurationError(error.what, hint=error.hint) from None


@task(name="copy-vhd", task_run_name="Copy the VHD to {copy_to}", cache_policy=NO_CACHE, persist_result=False)
def copy_image(build: Build, captured: CapturedVhd, copy_to: str) -> CopiedVhd:
    """The VHD in a second storage account, copied by the servers and verified; raises CopyError with nothing half-copied left."""
    target, container = parse_copy_target(build, copy_to)
    with build.timings.step(f"copy the VHD to {copy_to}") as step:
        return copy_vhd(
            build.cloud,
            VhdSource(captured.container, captured.blob_name, captured.sha256, captured.size_bytes),
            target,
            container,
            f"{build.build_id}.vhd",
            on_progress=lambda done, total: step.progress("copying", done, total),
            on_event=step.progress,
        )
