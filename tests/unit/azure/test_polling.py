"""Operations are followed at the server's pace, with a deadline, and survive throttling."""

from __future__ import annotations

import pytest
from azure.mgmt.compute.models import GrantAccessData

from images.errors import AllocationError, CloudError
from infra.azure.session import Cloud
from tests.unit.azure.conftest import Script

VM = {"id": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm", "name": "vm", "location": "westus3"}


def _start(cloud: Cloud, deadline_s: float = 10) -> None:
    cloud.wait.finish(
        "start the VM", lambda polling: cloud.compute.virtual_machines.begin_start("g", "vm", polling=polling), deadline_s=deadline_s
    )


def _accepted(script: Script) -> None:
    script.answer(202, None, Azure_AsyncOperation=f"{script.url}/operations/1")


def test_retry_after_is_honoured_from_the_first_answer_on(cloud: Cloud, script: Script) -> None:
    script.answer(202, None, Azure_AsyncOperation=f"{script.url}/operations/1", Retry_After="1")
    script.answer(200, {"status": "InProgress"}, Retry_After="1")
    script.answer(200, {"status": "Succeeded"})
    _start(cloud)
    times = [moment for moment, _, _ in script.requests]
    assert times[1] - times[0] >= 1.0
    assert times[2] - times[1] >= 1.0


def test_without_retry_after_the_profiles_interval_is_used(cloud: Cloud, script: Script) -> None:
    _accepted(script)
    for _ in range(4):
        script.answer(200, {"status": "InProgress"})
    script.answer(200, {"status": "Succeeded"})
    _start(cloud)
    gaps = [after[0] - before[0] for before, after in zip(script.requests, script.requests[1:], strict=False)]
    assert len(gaps) == 5
    assert sum(gaps[1:]) >= 4 * 0.05 * 0.9  # each end of a gap is noted by another thread
    assert max(gaps) < 1


def test_an_operation_that_never_ends_meets_its_deadline(cloud: Cloud, script: Script) -> None:
    _accepted(script)
    script.answer(200, {"status": "InProgress"})
    with pytest.raises(CloudError) as caught:
        _start(cloud, deadline_s=0.3)
    assert caught.value.code == "OperationTimedOut"
    assert len(script.requests) < 12


def test_reason_of_a_failed_operation_is_told(cloud: Cloud, script: Script) -> None:
    _accepted(script)
    script.answer(200, {"status": "Failed", "error": {"code": "AllocationFailed", "message": "Allocation failed. No capacity."}})
    with pytest.raises(AllocationError) as caught:
        _start(cloud)
    assert caught.value.code == "AllocationFailed"
    assert "No capacity" in str(caught.value)
    assert caught.value.status == 0


def test_throttling_is_waited_out(cloud: Cloud, script: Script) -> None:
    script.answer(429, {"error": {"code": "TooManyRequests", "message": "slow down"}}, Retry_After="1")
    script.answer(200)
    _start(cloud)
    assert script.requests[1][0] - script.requests[0][0] >= 1.0


def test_server_errors_are_retried(cloud: Cloud, script: Script) -> None:
    script.answer(503, {"error": {"code": "ServerBusy", "message": "busy"}})
    script.answer(200, VM)
    assert cloud.compute.virtual_machines.get("g", "vm").name == "vm"
    assert len(script.requests) == 2


def test_a_busy_resource_is_asked_again(cloud: Cloud, script: Script) -> None:
    script.refuse(409, "AnotherOperationInProgress", "Another operation on this or dependent resource is in progress.")
    script.answer(200)
    _start(cloud)
    assert len(script.requests) == 2


def test_a_real_conflict_is_not_asked_again(cloud: Cloud, script: Script) -> None:
    script.refuse(409, "OperationNotAllowed", "The VM is generalized.")
    with pytest.raises(CloudError, match="generalized"):
        _start(cloud)
    assert len(script.requests) == 1


def test_result_of_an_action_is_fetched_from_its_location(cloud: Cloud, script: Script) -> None:
    """begin_grant_access names two addresses: one tells the state, the other the result."""
    script.answer(202, None, Azure_AsyncOperation=f"{script.url}/operations/1", Location=f"{script.url}/results/1")
    script.answer(200, {"status": "Succeeded"})
    script.answer(200, {"accessSAS": "https://x/?sig=1"})
    grant = GrantAccessData(access="Read", duration_in_seconds=60)
    result = cloud.wait.finish(
        "get access", lambda polling: cloud.compute.disks.begin_grant_access("g", "disk", grant, polling=polling), deadline_s=5
    )
    assert result.access_sas == "https://x/?sig=1"
    assert [path.split("?")[0] for _, _, path in script.requests[1:]] == ["/operations/1", "/results/1"]
