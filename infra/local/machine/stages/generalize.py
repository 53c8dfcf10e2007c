r"""The last contact: sysprep, its result, and once that is read everything that the build left on the machine."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType

from images.stages.finish import GeneralizeInput, GeneralizeResult
from images.stages.link import RUNS_FOLDER
from infra.local.guest.remoting import remove_remoting
from infra.local.machine.base import GENERALIZED
from infra.local.machine.boot_options import clear_test_signing
from infra.local.machine.scheduled_tasks import remove_task
from infra.local.machine.stage_run import StageFailureError, StageRun
from infra.local.machine.sysprep import SysprepStuckError, generalize, log_tails, remove_agents
from infra.local.origin.windows_components import COMPONENT, shipped_component

READ_WAIT_S = 60.0
_POLL_S = 0.05
_AGENT_FOLDERS = (r"C:\WindowsAzure", r"C:\Packages")


def _revert_component(run: StageRun) -> None:
    """Windows' own file is back in the place of one that replaced it."""
    run.disk.write(COMPONENT, shipped_component(run.machine.build, run.machine.ubr).content)


_LOSSES: Mapping[str, Callable[[StageRun], None]] = MappingProxyType(
    {"testsigning-lost": lambda run: clear_test_signing(run.disk), "file-reverted": _revert_component}
)
"""What generalize undoes when a fault says so. Whether Windows does either is written nowhere, so builds must notice both."""


def invoke_generalize(run: StageRun, wanted: GeneralizeInput) -> GeneralizeResult:
    """Sysprep to IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE; a stuck one fails with the ends of its logs."""
    started = time.monotonic()
    if run.machine.pending_reboot:
        raise StageFailureError("sysprep-stuck", "sysprep does not generalize while a change waits for a restart")
    changed = run.machine.image_state != GENERALIZED
    fault = run.faults.should("guest.sysprep", run.context.vm_id)
    loss = _LOSSES.get(fault.code) if fault is not None else None
    with run.machine.lock:
        remove_agents(run.disk)
        try:
            state = generalize(run.disk, run.now, stuck=fault is not None and loss is None)
        except SysprepStuckError as error:
            message = f"{error} (bound {wanted.sysprep_timeout_s} s)\n{log_tails(run.disk)}"
            raise StageFailureError("sysprep-stuck", message) from error
        if loss is not None:
            loss(run)
        for folder in _AGENT_FOLDERS:
            path = run.disk.path(folder)
            if path.is_dir():
                shutil.rmtree(path)
    run.then = lambda: _leave(run, wanted)
    return GeneralizeResult(changed=changed, image_state=state, seconds=round(time.monotonic() - started, 3))


def _leave(run: StageRun, wanted: GeneralizeInput) -> None:
    """Wait until the result was read, then remove the way in and shut down."""
    run_id = run.context.run_id
    if run_id is not None:
        read = run.disk.path(rf"{RUNS_FOLDER}\{run_id}.read")
        give_up = time.monotonic() + READ_WAIT_S
        while not read.exists() and time.monotonic() < give_up:
            run.check_stopped()
            time.sleep(_POLL_S)
    with run.machine.lock:
        if run_id is not None:
            remove_task(run.disk, rf"\winvhd-{run_id}")
        remove_remoting(run.disk, account=wanted.build_account, thumbprint=wanted.certificate_thumbprint)
    run.context.shutdown(False, 0.0)
