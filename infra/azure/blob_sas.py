"""Read-only URLs of single blobs, for hours: signed with a user delegation key on Azure, with the account key on the stand-in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import SecretStr

from infra.azure.profile import StorageAccess
from infra.azure.refusals import refusals
from infra.azure.session import Cloud

# The clocks of guest and service differ by minutes now and then; a start in the past costs nothing.
CLOCK_SKEW = timedelta(minutes=10)
MAX_HOURS = 24 * 7
"""https://learn.microsoft.com/rest/api/storageservices/get-user-delegation-key: a key lives seven days at most."""


def read_sas(cloud: Cloud, container: str, blob: str, *, hours: float, access: StorageAccess | None = None) -> SecretStr:
    """A URL that lets its holder read this one blob for so many hours. Raises CloudError; ValueError for hours out of range."""
    from azure.storage.blob import BlobSasPermissions, generate_blob_sas

    if not 0 < hours <= MAX_HOURS:
        raise ValueError(f"hours must be above 0 and at most {MAX_HOURS}")
    access = access or cloud.profile.storage
    service = cloud.blobs(access)
    start = datetime.now(UTC) - CLOCK_SKEW
    expiry = datetime.now(UTC) + timedelta(hours=hours)
    signing: dict[str, Any]
    if access.key is not None:
        signing = {"account_key": access.key.get_secret_value()}
    else:
        with refusals(f"get a user delegation key of storage account {access.account}"):
            signing = {"user_delegation_key": service.get_user_delegation_key(start, expiry)}
    token = generate_blob_sas(
        access.account,
        container,
        blob,
        permission=BlobSasPermissions(read=True),
        start=start,
        expiry=expiry,
        protocol="https" if access.endpoint.startswith("https://") else None,
        **signing,
    )
    with service.get_blob_client(container, blob) as client:
        return SecretStr(f"{client.url}?{token}")
