"""What the SDKs raise becomes our errors."""

from __future__ import annotations

import traceback

import pytest
from azure.core.exceptions import ServiceRequestError

from images.errors import AllocationError, CloudError
from infra.azure.refusals import refusals
from infra.azure.session import Cloud
from tests.unit.azure.conftest import Script


def _refused(cloud: Cloud) -> CloudError:
    with pytest.raises(CloudError) as caught, refusals("look up a VM"):
        cloud.compute.virtual_machines.get("group", "vm")
    return caught.value


def test_code_status_and_request_id_are_kept(cloud: Cloud, script: Script) -> None:
    script.refuse(403, "AuthorizationFailed", "The client has no authorization.")
    error = _refused(cloud)
    assert (error.code, error.status, error.request_id) == ("AuthorizationFailed", 403, "11112222")
    assert "could not look up a VM: AuthorizationFailed (403): The client has no authorization. [request 11112222]" in str(error)
    assert "infra/bicep/main.bicep" in error.hint


@pytest.mark.parametrize("code", ["AllocationFailed", "ZonalAllocationFailed", "SkuNotAvailable", "QuotaExceeded"])
def test_lack_of_room_is_an_allocation_error(cloud: Cloud, script: Script, code: str) -> None:
    script.refuse(409, code, "no room")
    error = _refused(cloud)
    assert isinstance(error, AllocationError)
    assert error.code == code
    assert error.hint


def test_quota_hidden_in_operation_not_allowed_is_found(cloud: Cloud, script: Script) -> None:
    script.refuse(409, "OperationNotAllowed", "Operation results in exceeding approved Total Regional Cores quota.")
    error = _refused(cloud)
    assert isinstance(error, AllocationError)
    assert error.code == "QuotaExceeded"


def test_other_operation_not_allowed_is_no_lack_of_room(cloud: Cloud, script: Script) -> None:
    script.refuse(409, "OperationNotAllowed", "The VM is generalized.")
    error = _refused(cloud)
    assert not isinstance(error, AllocationError)
    assert error.code == "OperationNotAllowed"


def test_reason_inside_a_failed_deployment_is_found(cloud: Cloud, script: Script) -> None:
    details = [{"code": "ZonalAllocationFailed", "message": "no capacity in zone 1"}]
    script.refuse(409, "DeploymentFailed", "at least one resource failed", details)
    assert _refused(cloud).code == "ZonalAllocationFailed"


def test_an_answer_that_is_no_json_still_has_its_status(cloud: Cloud, script: Script) -> None:
    script.answer(418, "teapot")
    assert _refused(cloud).status == 418


def test_storage_errors_keep_their_code(cloud: Cloud, script: Script) -> None:
    script.answer(403, None, x_ms_error_code="AuthorizationPermissionMismatch", x_ms_request_id="r9")
    with pytest.raises(CloudError) as caught, refusals("list blobs"):
        cloud.blobs().get_container_client("builds").get_container_properties()
    assert (caught.value.code, caught.value.status, caught.value.request_id) == ("AuthorizationPermissionMismatch", 403, "r9")
    assert "Storage Blob Data Contributor" in caught.value.hint


def test_no_network_says_what_to_check() -> None:
    with pytest.raises(CloudError) as caught, refusals("reach Azure"):
        raise ServiceRequestError("connection refused")
    assert "connection refused" in str(caught.value)
    assert "endpoints" in caught.value.hint


def test_signature_in_azures_text_appears_nowhere(cloud: Cloud, script: Script) -> None:
    script.refuse(400, "CannotVerifyCopySource", "source https://a.blob.core.windows.net/c/b?sv=1&sig=c2VjcmV0 is gone")
    error = _refused(cloud)
    assert error.__cause__ is None
    assert error.__suppress_context__
    assert "c2VjcmV0" not in "".join(traceback.format_exception(error)) + repr(error.__reduce__())


def test_own_errors_pass_unchanged() -> None:
    own = CloudError("ours", code="Ours")
    with pytest.raises(CloudError) as caught, refusals("anything"):
        raise own
    assert caught.value is own
