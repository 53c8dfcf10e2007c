"""Managed Run Command through the real client."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from tests.contract.arm.conftest import REGION, StandIn, Workshop
from tests.contract.arm.test_refusals import refusal

SECRET = "never-to-be-seen-again"


def command(script: str, **properties: object) -> dict[str, Any]:
    return {"location": REGION, "properties": {"source": {"script": script}, "timeoutInSeconds": 60, **properties}}


def run(stand_in: StandIn, workshop: Workshop, name: str, body: dict[str, Any]) -> Any:
    commands = stand_in.compute.virtual_machine_run_commands
    commands.begin_create_or_update(workshop.group, "vm", name, body).result()
    return commands.get_by_virtual_machine(workshop.group, "vm", name, expand="instanceView").instance_view


def test_script_gets_parameters_and_its_output_is_shown(stand_in: StandIn, workshop: Workshop) -> None:
    workshop.vm()
    body = command("echo done", parameters=[{"name": "nonce", "value": "42"}], protectedParameters=[{"name": "password", "value": SECRET}])
    view = run(stand_in, workshop, "contact", body)
    assert (view.execution_state, view.exit_code, view.output) == ("Succeeded", 0, "done")
    assert stand_in.guests.received[-1] == ("echo done", {"nonce": "42"}, {"password": SECRET})
    commands = stand_in.compute.virtual_machine_run_commands
    shown = commands.get_by_virtual_machine(workshop.group, "vm", "contact")
    assert shown.instance_view is None
    assert shown.protected_parameters is None
    assert SECRET not in str(stand_in.cloud.store.find())
    commands.begin_delete(workshop.group, "vm", "contact").result()
    with pytest.raises(ResourceNotFoundError):
        commands.get_by_virtual_machine(workshop.group, "vm", "contact")


def test_only_the_last_4096_bytes_of_output_are_kept(stand_in: StandIn, workshop: Workshop) -> None:
    workshop.vm()
    view = run(stand_in, workshop, "long", command("echo " + "ä" * 5000 + "end"))
    assert view.output.endswith("end")
    assert len(view.output.encode()) in (4095, 4096)


def test_failed_script_is_reported_and_the_operation_succeeds(stand_in: StandIn, workshop: Workshop) -> None:
    workshop.vm()
    view = run(stand_in, workshop, "bad", command("fail"))
    assert (view.execution_state, view.exit_code, view.error) == ("Failed", 1, "it broke")


def test_one_command_at_a_time(stand_in: StandIn, workshop: Workshop) -> None:
    workshop.vm()
    commands = stand_in.compute.virtual_machine_run_commands
    first = commands.begin_create_or_update(workshop.group, "vm", "first", command("block"))
    action = lambda: commands.begin_create_or_update(workshop.group, "vm", "second", command("echo x")).result()  # noqa: E731
    assert refusal(action) == (409, "Conflict")
    stand_in.guests.unblock.set()
    first.result()
    assert run(stand_in, workshop, "second", command("echo x")).output == "x"


def test_asynchronous_command_is_accepted_before_it_ends(stand_in: StandIn, workshop: Workshop) -> None:
    workshop.vm()
    commands = stand_in.compute.virtual_machine_run_commands
    threading.Timer(0.3, stand_in.guests.unblock.set).start()
    view = run(stand_in, workshop, "slow", command("block", asyncExecution=True))
    assert view.execution_state == "Running"
    deadline = time.monotonic() + 10
    while commands.get_by_virtual_machine(workshop.group, "vm", "slow", expand="instanceView").instance_view.execution_state == "Running":
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_command_needs_a_running_vm(stand_in: StandIn, workshop: Workshop) -> None:
    workshop.vm()
    stand_in.compute.virtual_machines.begin_power_off(workshop.group, "vm").result()
    assert refusal(lambda: run(stand_in, workshop, "late", command("echo x"))) == (409, "OperationNotAllowed")


def test_command_needs_outbound_traffic(stand_in: StandIn, workshop: Workshop) -> None:
    body = workshop.vm_body(workshop.nic("guarded", nsg=True))
    stand_in.compute.virtual_machines.begin_create_or_update(workshop.group, "vm", body).result()
    deny = {"direction": "Outbound", "access": "Deny", "priority": 100, "protocol": "Tcp", "destinationAddressPrefix": "*"}
    rule = {"name": "deny", "properties": deny | {"destinationPortRanges": ["80", "400-500"]}}
    stand_in.network.network_security_groups.begin_create_or_update(
        workshop.group, "guarded-nsg", {"location": REGION, "properties": {"securityRules": [rule]}}
    ).result()
    with pytest.raises(HttpResponseError, match="VMAgentStatusCommunicationError"):
        run(stand_in, workshop, "cut-off", command("echo x"))
