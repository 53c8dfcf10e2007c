"""Managed Run Command: a script in the guest without any network of ours, through Azure's VM agent."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from pydantic import SecretStr

from images.errors import CloudError
from infra.azure.refusals import refusals
from infra.azure.session import Cloud
from infra.azure.vm_request import BuildVm

# https://learn.microsoft.com/azure/virtual-machines/windows/run-command-managed: 90 minutes at most, and the instance view keeps the
# last 4,096 bytes of each stream.
MAX_TIMEOUT_S = 90 * 60
AGENT_SLACK_S = 600


@dataclass(frozen=True)
class RunCommandResult:
    """What a script left behind: at most the last 4,096 bytes of each stream."""

    state: str
    exit_code: int | None
    output: str = field(repr=False)
    error: str = field(repr=False)
    message: str = ""

    @property
    def succeeded(self) -> bool:
        """True when the script ran to its end with exit code 0."""
        return self.state == "Succeeded" and self.exit_code == 0


def run_command(
    cloud: Cloud,
    vm: BuildVm,
    script: str,
    parameters: Mapping[str, str],
    protected_parameters: Mapping[str, SecretStr],
    *,
    timeout_s: int = 900,
) -> RunCommandResult:
    """Run a PowerShell script in the guest and give what it left; it begins to be deleted afterwards, whatever happens.

    The result may be failed: the caller judges it, and compares a nonce, since a disk made from a snapshot can answer with an old result.
    Raises CloudError when Azure could not run it at all.
    """
    if not 1 <= timeout_s <= MAX_TIMEOUT_S:
        raise ValueError(f"timeout_s must be between 1 and {MAX_TIMEOUT_S}")
    from azure.mgmt.compute.models import VirtualMachineRunCommand

    commands = cloud.compute.virtual_machine_run_commands
    command = VirtualMachineRunCommand(
        {
            "location": cloud.profile.location,
            "properties": {
                "source": {"script": script},
                "parameters": [{"name": key, "value": value} for key, value in parameters.items()],
                "protectedParameters": [{"name": key, "value": value.get_secret_value()} for key, value in protected_parameters.items()],
                "timeoutInSeconds": timeout_s,
                "asyncExecution": False,
            },
        }
    )
    # A fresh name: a command of the same name would be an update, whose old instance view could be read as the new result.
    name = f"winvhd-{secrets.token_hex(6)}"
    try:
        cloud.wait.finish(
            f"run a command in VM {vm.name}",
            lambda polling: commands.begin_create_or_update(
                vm.resource_group,
                vm.name,
                name,
                command,
                polling=polling,
            ),
            deadline_s=timeout_s + AGENT_SLACK_S,
        )
        with refusals(f"read the result of the command in VM {vm.name}"):
            answer = commands.get_by_virtual_machine(vm.resource_group, vm.name, name, expand="instanceView")
    except BaseException:
        # The first error counts; a command left behind goes with the VM.
        with suppress(CloudError):
            _delete(cloud, vm, name)
        raise
    _delete(cloud, vm, name)
    view = answer.properties.instance_view if answer.properties else None
    if view is None or view.execution_state is None:
        raise CloudError(
            f"Azure kept no result of the command in VM {vm.name}",
            code="NoInstanceView",
            hint="the VM agent may not have started: the VM needs outbound access to port 443",
        )
    return RunCommandResult(
        state=str(getattr(view.execution_state, "value", view.execution_state)),
        exit_code=view.exit_code,
        output=view.output or "",
        error=view.error or "",
        message=view.execution_message or "",
    )


def _delete(cloud: Cloud, vm: BuildVm, name: str) -> None:
    """Begin to delete the command: the agent takes it away at its next round, and nothing has to wait for that."""
    commands = cloud.compute.virtual_machine_run_commands
    # Asked again while Azure is still busy with the VM: what the command was for has succeeded by now.
    cloud.wait.finish(
        f"delete the command in VM {vm.name}",
        lambda _: commands.begin_delete(vm.resource_group, vm.name, name, polling=False),
        deadline_s=AGENT_SLACK_S,
    )
