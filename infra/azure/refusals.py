"""Turns what the Azure SDKs raise into our errors: Azure's code, status and request id, a hint, and never a secret."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING

from images.errors import AllocationError, BuildError, CloudError
from infra.redaction import redact

if TYPE_CHECKING:
    from azure.core.exceptions import AzureError, HttpResponseError

# https://learn.microsoft.com/azure/virtual-machines/error-codes-for-allocation-failures and
# https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/error-sku-not-available
ALLOCATION_CODES = frozenset(
    {
        "AllocationFailed",
        "ZonalAllocationFailed",
        "OverconstrainedAllocationRequest",
        "OverconstrainedZonalAllocationRequest",
        "SkuNotAvailable",
        "QuotaExceeded",
    }
)

HINTS: Mapping[str, str] = {
    "AllocationFailed": "Azure has no capacity for this size now: add sizes or zones to the profile, or try again later",
    "ZonalAllocationFailed": "Azure has no capacity for this size in this zone: add zones or sizes to the profile",
    "OverconstrainedAllocationRequest": "no hardware fits size and options together: add sizes to the profile",
    "OverconstrainedZonalAllocationRequest": "no hardware in this zone fits size and options: add zones or sizes to the profile",
    "SkuNotAvailable": "the subscription may not use this size here: `az vm list-skus --location REGION` shows which it may",
    "QuotaExceeded": "the vCPU quota of the region is used up: delete what is left over (`winvhd` tags it), or ask for more quota",
    "AuthorizationFailed": "the identity lacks a role: infra/bicep/main.bicep assigns those that a build needs",
    "AuthorizationPermissionMismatch": "the identity needs Storage Blob Data Contributor and Storage Blob Delegator on the storage account",
    "AuthorizationFailure": "the storage account's network rules refuse this address, or the identity lacks a data role",
    "AuthenticationFailed": "log in again (`az login`) and compare this machine's clock",
    "PlatformImageNotFound": "the marketplace has no such version (any more): refresh the lock",
    "ImageNotFound": "the marketplace has no such image: compare publisher, offer and sku with `az vm image list`",
    "SubscriptionNotFound": "check subscription_id in the profile and the tenant of the login",
    "MissingSubscriptionRegistration": "register the resource provider: `az provider register --namespace NAMESPACE`",
    "ResourceGroupNotFound": "the resource group is gone; a build whose group was deleted starts again",
    "ResourceGroupBeingDeleted": "the group of an earlier run is still being deleted: wait a few minutes and run again",
    "OperationNotAllowed": "the resource is not in a state that allows this; Azure's text says which one it needs",
    "RequestDisallowedByPolicy": "an Azure Policy of the subscription refuses this resource; the text names the policy",
    "ScopeLocked": "a lock on the scope forbids it: remove the lock or use another resource group",
    "TooManyRequests": "Azure throttles the subscription: run fewer builds at the same time",
    "AccountIsDisabled": "the storage account is disabled",
    "ContainerNotFound": "the container is missing: infra/bicep/main.bicep makes those that a build needs",
    "ContainerBeingDeleted": "its name is free some minutes after the deletion: run it again then",
    "OSProvisioningTimedOut": "Windows did not come through its first boot: was the disk generalized by sysprep before it was captured?",
    "OperationTimedOut": "the resource's state is in the portal's activity log; running again takes the build over",
}


def is_quota(code: str, message: str) -> bool:
    """True for an exhausted quota; Compute reports it as OperationNotAllowed with the quota in its text."""
    return code == "QuotaExceeded" or (code == "OperationNotAllowed" and "quota" in message.lower())


@contextmanager
def refusals(what: str, *, where: str = "") -> Iterator[None]:
    """Raise CloudError (AllocationError for capacity and quota) for whatever the SDK raises inside; `what` completes "could not …"."""
    # Imported here: the CLI's start must not pay for azure-core.
    from azure.core.exceptions import AzureError

    try:
        yield
    except AzureError as error:
        # The SDK's exception holds the request's URL and the answer's body, where a SAS may be: it must not live on as a cause.
        refusal = explain(error, what, where=where)
        raise refusal from None


def explain(error: AzureError, what: str, *, where: str = "") -> BuildError:
    """The error to raise for an SDK error."""
    from azure.core.exceptions import HttpResponseError

    if not isinstance(error, HttpResponseError):
        hint = "check the network, proxy and endpoints of the profile"
        return CloudError(f"could not {what}: {_first_line(error.message)}", code=type(error).__name__, hint=hint, where=where)
    code, message = error_code(error), _first_line(_azure_text(error))
    if is_quota(code, message):
        code = "QuotaExceeded"
    request_id = _request_id(error)
    # A failed operation is told by a poll that itself answers 200.
    status = error.status_code if error.status_code and error.status_code >= HTTPStatus.BAD_REQUEST else 0
    text = f"could not {what}: {code or 'HTTP error'} ({status or 'operation failed'}): {message}"
    if request_id:
        text += f" [request {request_id}]"
    kind = AllocationError if code in ALLOCATION_CODES else CloudError
    return kind(text, code=code, status=status, request_id=request_id, hint=HINTS.get(code, ""), where=where)


def error_code(error: AzureError) -> str:
    """Azure's own error code: of ARM's error body, of a failed operation, or of the storage service; "" when there is none."""
    storage_code = getattr(error, "error_code", None)
    if storage_code:
        return str(getattr(storage_code, "value", storage_code))
    body = getattr(error, "error", None)
    # Operations wrap the reason: the innermost detail is the one that can be acted on.
    details = getattr(body, "details", None) or ()
    for detail in details:
        if getattr(detail, "code", None) in ALLOCATION_CODES:
            return str(detail.code)
    return str(getattr(body, "code", None) or "")


def _azure_text(error: HttpResponseError) -> str:
    body = getattr(error, "error", None)
    return str(getattr(body, "message", None) or error.message or error.reason or "")


def _request_id(error: HttpResponseError) -> str:
    headers = getattr(error.response, "headers", None) or {}
    return str(headers.get("x-ms-request-id") or "")


def _first_line(text: str) -> str:
    lines = redact(text).strip().splitlines()
    return lines[0].strip()[:600] if lines else "no text"
