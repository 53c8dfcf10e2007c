"""A guest that started from a checkpoint comes to rest, and proves it good, before it is built on."""

from __future__ import annotations

from images.errors import CloudError, GuestLinkError, StageError
from infra.azure.checkpoint_restore import CHECKPOINT_GONE
from infra.azure.checkpoint_state import Checkpoint
from infra.azure.checkpoints import delete_checkpoint
from infra.guest.link import GuestLink
from tasks.build import Build
from tasks.run_stage import restart_until_settled


def settle_restored(build: Build, link: GuestLink, checkpoint: Checkpoint) -> None:
    """Wait until no service of the guest is starting any more, and restart it for as long as servicing waits for that.

    A checkpoint is taken before the boot that completes its layer, so this may be the first one of its disk. When it does not come to rest,
    the checkpoint is deleted, and CloudError with the code CheckpointGone is raised: the layer is then built anew.
    """
    with build.timings.step("settle what was restored") as step:
        try:
            if link.wait_until_ready().pending_reboot:
                step.progress("Windows waits for a restart")
                restart_until_settled(link.restart)
        except (GuestLinkError, StageError) as error:
            build.must_go_on()
            step.warn(f"{checkpoint.name} is not used any more: {error.what}")
            delete_checkpoint(build.cloud, checkpoint)
            raise CloudError(
                f"checkpoint {checkpoint.name} does not come to rest: {error.what}",
                code=CHECKPOINT_GONE,
                hint="run the build again: the layer is then built anew",
            ) from error
