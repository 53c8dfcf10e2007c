"""Save a finished layer: stop the VM, take a snapshot of its disk, start it again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from images.errors import CloudError, ConfigurationError, StageError
from images.layer_record import record_of
from images.plan import BuildPlan, Layer
from images.retention import Condition
from images.stages.contract import NoInput
from images.stages.finish import CLEAR_RUN_COMMAND
from infra.azure.checkpoint_state import Checkpoint
from infra.azure.checkpoints import delete_checkpoint, look_up, save_checkpoint
from infra.azure.layer_lease import LayerLease, LeaseLostError
from infra.azure.layer_records import LayerRecords
from infra.azure.vm_power import power_off, start
from infra.azure.vm_request import BuildVm
from infra.guest.link import GuestLink
from tasks.build import Build
from tasks.progress import Step
from tasks.run_stage import check_promised_build, restart_until_settled, stage_run_id
from tasks.step_task import step_task

CHECKPOINT_LIFETIME = timedelta(days=60)
"""How long a public checkpoint may be started from; two months' updates make any older one useless."""


@step_task("save-checkpoint", "Checkpoint after {layer.name}")
def save_layer(
    build: Build, plan: BuildPlan, layer: Layer, lock_digest: str, vm: BuildVm, link: GuestLink, lease: LayerLease, *, replace: bool = False
) -> Checkpoint | None:
    """The checkpoint, after the VM was stopped, saved and started again; None when the lease was lost or the cloud refused to save.

    Raises GuestLinkError, CloudError when the VM does not stop or start, and StageError when the next boot shows that an update did not
    last; such a checkpoint is deleted. Not being able to save is no error: a checkpoint only saves time.
    With `replace` an earlier checkpoint of the layer makes room for this one.
    """
    with build.timings.step(f"checkpoint {layer.name.value}", layer=layer.name.value) as step:
        saved: list[Checkpoint] = []
        ready = _prepare(build, layer, link, step)

        def while_off() -> None:
            # What was saved before a restart that was not the last one holds an update that is half done.
            while saved:
                delete_checkpoint(build.cloud, saved.pop())
            power_off(build.cloud, vm)
            step.progress("the VM is stopped")
            checkpoint = _save(build, plan, layer, lock_digest, vm, lease, step, replace=replace) if ready else None
            if checkpoint is not None:
                saved.append(checkpoint)
            build.must_go_on()
            start(build.cloud, vm)

        try:
            state = restart_until_settled(lambda: link.reboot_around(while_off))
            check_promised_build(layer.stages[-1], state)
        except StageError:
            for checkpoint in saved:
                try:
                    delete_checkpoint(build.cloud, checkpoint)
                except CloudError as error:
                    step.warn(f"{checkpoint.name} must not be used, and could not be deleted: {error.what}")
            raise
        return saved[0] if saved else None


def _prepare(build: Build, layer: Layer, link: GuestLink, step: Step) -> bool:
    """Remove what must not be in a checkpoint; False when the guest can not."""
    try:
        link.run_stage(CLEAR_RUN_COMMAND, NoInput(), run_id=stage_run_id(build, CLEAR_RUN_COMMAND, layer.name.value, {}))
    except StageError as error:
        step.warn(f"not saved: {error.what}")
        return False
    return True


def _save(
    build: Build, plan: BuildPlan, layer: Layer, lock_digest: str, vm: BuildVm, lease: LayerLease, step: Step, *, replace: bool
) -> Checkpoint | None:
    now = datetime.now(UTC)
    expires_at = build.private_until or now + CHECKPOINT_LIFETIME
    try:
        lease.must_be_held()
        # First the record: a checkpoint that nobody can explain should not exist.
        LayerRecords(build.cloud, container=build.builds_container).put(record_of(plan, layer, now.isoformat(timespec="seconds")))
        earlier = look_up(build.cloud, layer.name.value, layer.fingerprint, build.scope) if replace else None
        if earlier is not None and earlier.condition is not Condition.STRANGE:
            # Whoever has the layer now may have saved it meanwhile.
            lease.must_be_held()
            delete_checkpoint(build.cloud, earlier)
        made = save_checkpoint(
            build.cloud,
            vm,
            layer=layer.name.value,
            fingerprint=layer.fingerprint,
            scope=build.scope,
            image=plan.image,
            lock_digest=lock_digest,
            build_id=build.build_id,
            expires_at=expires_at,
        )
    except (LeaseLostError, CloudError, ConfigurationError) as error:
        step.warn(f"not saved: {error.what}")
        return None
    step.progress(f"saved as {made.name}")
    return made
