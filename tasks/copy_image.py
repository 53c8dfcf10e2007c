"""The optional copy of the VHD to a second storage account."""

from __future__ import annotations

from images.errors import ConfigurationError, CopyError
from images.plan import BuildPlan
from images.privacy import Evidence, refuse_private
from infra.azure.blob_copy import CopiedVhd, VhdSource, copy_vhd, find_target, split_target
from infra.azure.disk_capture import CapturedVhd
from infra.azure.profile import StorageAccess
from tasks.build import Build
from tasks.step_task import step_task


def parse_copy_target(build: Build, copy_to: str) -> tuple[StorageAccess, str]:
    """(account, container) of ACCOUNT/CONTAINER; raises ConfigurationError when it is not of this form or the account is not known."""
    account, container = split_target(copy_to)
    try:
        return find_target(build.cloud.profile.copy_targets, account), container
    except CopyError as error:
        raise ConfigurationError(error.what, hint=error.hint) from None


def refuse_private_copy(build: Build, plan: BuildPlan, copy_to: str) -> None:
    """Raises PrivateImageError when an image that is private may not be copied: asked before it is built, and again before the copy."""
    evidence = Evidence(
        plan_private=plan.private,
        scopes=(build.scope, build.tags.scope, plan.scope),
        names=(build.builds_container, build.image, copy_to),
    )
    refuse_private("copy the image", evidence)


@step_task("copy-vhd", "Copy the VHD to {copy_to}")
def copy_image(build: Build, plan: BuildPlan, captured: CapturedVhd, copy_to: str, name: str) -> CopiedVhd:
    """The VHD in a second storage account as <name>.vhd, copied by the servers and verified; raises CopyError, nothing half-copied left.

    A copy that is there already, with the same bytes, is not made again. Raises PrivateImageError for private work.
    """
    refuse_private_copy(build, plan, copy_to)
    target, container = parse_copy_target(build, copy_to)
    with build.timings.step(f"copy the VHD to {copy_to}") as step:
        return copy_vhd(
            build.cloud,
            VhdSource(captured.container, captured.blob_name, captured.sha256, captured.size_bytes),
            target,
            container,
            f"{name}.vhd",
            on_progress=lambda done, total: step.progress("copying", done, total),
            on_event=step.progress,
        )
