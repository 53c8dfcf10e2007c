"""What a guest that hangs can still tell: its logs through Run Command, or from its disk once it is off."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr

from images.errors import BuildError
from infra.azure.disk_capture import disk_read_access
from infra.azure.run_command import RunCommandResult, run_command
from infra.azure.vm_power import deallocate
from infra.azure.vm_request import BuildVm
from infra.guest.guest_log import guest_log
from infra.redaction import redact
from infra.vhd.blob_range_reader import open_blob
from infra.vhd.offline_logs import read_log_tails
from tasks.build import Build
from tasks.progress import Step
from tasks.step_task import step_task

LONGEST_WAIT_S = 120
ACCESS_S = 3600


@step_task("collect-guest-logs", "Logs of the {vm.role} VM")
def collect_guest_logs(build: Build, vm: BuildVm, *, agent_is_there: bool = True) -> Path | None:
    """The file with the guest's logs, in the build's folder; None when there are none to be had. It ends the VM's boot if it must.

    Never raises BuildError: it is called while another error is on its way.
    """
    with build.timings.step(f"logs of the {vm.role} VM") as step:
        text = (_from_agent(build, vm, step) if agent_is_there else "") or _from_disk(build, vm, step)
    if not text:
        return None
    path = build.folder / f"guest-logs-{vm.role}.txt"
    path.write_text(text + "\n", encoding="utf-8")
    return path


def keep_guest_logs(error: BuildError, build: Build, vm: BuildVm, *, agent_is_there: bool = True) -> None:
    """Collect the guest's logs and say in the error where they are."""
    path = collect_guest_logs(build, vm, agent_is_there=agent_is_there)
    if path is not None:
        error.kept = "; ".join(part for part in (error.kept, f"the guest's logs are in {path}") if part)


def _from_agent(build: Build, vm: BuildVm, step: Step) -> str:
    def run(script: str, parameters: Mapping[str, str], protected: Mapping[str, SecretStr]) -> RunCommandResult:
        profile = build.cloud.profile
        timeout_s = max(1, int(min(LONGEST_WAIT_S, profile.silence_limit_s, profile.restart_limit_s)))
        return run_command(build.cloud, vm, script, parameters, protected, timeout_s=timeout_s)

    try:
        return guest_log(run, attempts=1)
    except BuildError as error:
        step.progress(f"no logs through Run Command: {error.what}")
        return ""


def _from_disk(build: Build, vm: BuildVm, step: Step) -> str:
    cloud = build.cloud
    try:
        deallocate(cloud, vm)
        with (
            disk_read_access(cloud, vm.resource_group, vm.os_disk_name, duration_s=ACCESS_S) as address,
            open_blob(address.get_secret_value(), first_wait_s=cloud.profile.poll_interval_s) as disk,
        ):
            logs = read_log_tails(disk)
    except BuildError as error:
        step.progress(f"no logs from the disk: {error.what}")
        return ""
    return redact("\n".join(f"==> {path}\n{tail}" for path, tail in logs.items()))
