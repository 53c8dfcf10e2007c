"""Managed Run Command: a script that the VM agent runs as SYSTEM.

learn.microsoft.com, "Run scripts in your Windows VM by using managed Run Commands" and "…action Run Commands" (restrictions: the last
4,096 bytes of output, one script at a time, 90 minutes, outbound connectivity on port 443).
"""

from __future__ import annotations

import copy

from infra.local.arm.cloud import Cloud, now
from infra.local.arm.errors import ArmError, invalid, not_allowed, not_implemented
from infra.local.arm.exchange import COMPUTE, Answer, Call, Route
from infra.local.arm.kinds import RUN_COMMAND
from infra.local.arm.machine_view import power_state
from infra.local.arm.outbound import outbound_allowed
from infra.local.contracts import RunCommandOutcome
from infra.local.state import Json, Resource

OUTPUT_BYTES = 4096
LONGEST_S = 90 * 60
BASE = f"{COMPUTE}/virtualMachines/{{vm}}/runCommands"
UNSUPPORTED = ("runAsUser", "runAsPassword", "outputBlobUri", "errorBlobUri")


class RunCommands:
    """Microsoft.Compute/virtualMachines/runCommands."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def routes(self) -> list[Route]:
        """PUT, GET with $expand=instanceView, DELETE, list."""
        return [
            Route("PUT", f"{BASE}/{{name}}", self._put),
            Route("GET", f"{BASE}/{{name}}", self._get),
            Route("DELETE", f"{BASE}/{{name}}", self._delete),
            Route("GET", BASE, self._list),
        ]

    def _get(self, call: Call) -> Answer:
        command = self._cloud.require(call.resource_id)
        return Answer(200, _shown(command, call.query.get("$expand", "")))

    def _list(self, call: Call) -> Answer:
        vm = self._cloud.require(call.resource_id.rsplit("/", 1)[0])
        found = self._cloud.store.find(kind=RUN_COMMAND, under=vm.id)
        return Answer(200, {"value": [_shown(command, call.query.get("$expand", "")) for command in found]})

    def _put(self, call: Call) -> Answer:
        vm = self._cloud.require(call.resource_id.rsplit("/runCommands/", 1)[0])
        command, existing = self._cloud.draft(call, RUN_COMMAND)
        properties = command.properties
        script = (properties.get("source") or {}).get("script")
        if not script:
            raise not_implemented("PUT", "runCommands without source.script")
        for name in UNSUPPORTED:
            if properties.get(name):
                raise not_implemented("PUT", f"runCommands with {name}")
        timeout_s = properties.setdefault("timeoutInSeconds", LONGEST_S)
        if not isinstance(timeout_s, int) or not 0 < timeout_s <= LONGEST_S:
            raise invalid(f"timeoutInSeconds must be between 1 and {LONGEST_S}.", "timeoutInSeconds")
        if power_state(self._cloud, vm) != "running":
            raise not_allowed("The operation requires the VM to be running (or set to run).")
        plain = _pairs(properties, "parameters")
        secret = _pairs(properties, "protectedParameters")
        properties.pop("protectedParameters", None)
        key = f"{vm.id}/runCommands"
        if self._cloud.operations.busy_with(key) is not None:
            raise ArmError(
                409, "Conflict", "Run command extension execution is in progress. Please wait for completion before invoking a run command."
            )
        command.internal["view"] = {"executionState": "Pending", "output": "", "error": ""}
        properties["provisioningState"] = "Creating"
        is_async = bool(properties.get("asyncExecution"))
        shown = copy.deepcopy(_shown(command, ""))

        def run() -> Json | None:
            try:
                self._refuse_unreachable(vm)
                command.internal["view"] = {"executionState": "Running", "output": "", "error": "", "startTime": now()}
                # With asyncExecution provisioning ends when the script has started.
                properties["provisioningState"] = "Succeeded" if is_async else "Creating"
                self._save(command)
                outcome = self._cloud.guests.run_command(vm.id.lower(), script, plain, secret, float(timeout_s))
            except Exception as error:
                properties["provisioningState"] = "Failed"
                command.internal["view"] = {"executionState": "Failed", "output": "", "error": str(error)}
                self._save(command)
                raise
            command.internal["view"].update(_view(outcome))
            properties["provisioningState"] = "Succeeded"
            self._save(command)
            return None

        operation = self._cloud.operations.start("runCommand", command.id, run, key=key, first=lambda: self._cloud.store.put(command))
        headers = {} if is_async else self._cloud.operations.headers(call, operation)
        return Answer(200 if existing else 201, shown, headers)

    def _refuse_unreachable(self, vm: Resource) -> None:
        """Raises ArmError when the network keeps the agent from reporting, as Azure does after its own timeout."""
        if not outbound_allowed(self._cloud.store, vm):
            raise ArmError(
                409,
                "VMAgentStatusCommunicationError",
                f"VM '{vm.name}' has not reported status for VM agent or extensions: outbound traffic to port 443 is denied.",
            )

    def _save(self, command: Resource) -> None:
        # A command that was deleted while it ran stays deleted.
        if self._cloud.store.get(command.id) is not None:
            self._cloud.store.put(command)

    def _delete(self, call: Call) -> Answer:
        command = self._cloud.store.get(call.resource_id)
        if command is None:
            self._cloud.require(call.resource_id.rsplit("/runCommands/", 1)[0])
            return Answer(204)

        def work() -> Json | None:
            self._cloud.store.remove(command.id)
            return None

        return self._cloud.begin(call, "runCommand.delete", command.id, work)


def _shown(command: Resource, expand: str) -> Json:
    document = {**command.document, "properties": dict(command.properties)}
    if expand.lower() == "instanceview":
        document["properties"]["instanceView"] = dict(command.internal["view"])
    return document


def _view(outcome: RunCommandOutcome) -> Json:
    return {
        "executionState": outcome.state,
        "exitCode": outcome.exit_code,
        "output": _tail(outcome.output),
        "error": _tail(outcome.error),
        "endTime": now(),
    }


def _tail(text: str) -> str:
    return text.encode()[-OUTPUT_BYTES:].decode(errors="ignore")


def _pairs(properties: Json, name: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in properties.get(name) or []:
        if not isinstance(pair, dict) or not {"name", "value"} <= pair.keys():
            raise invalid(f"Each of '{name}' needs a name and a value.", name)
        found[str(pair["name"])] = str(pair["value"])
    return found
