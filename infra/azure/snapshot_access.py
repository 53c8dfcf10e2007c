"""Reading a snapshot: a SAS for as long as it is needed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from pydantic import SecretStr

from images.errors import CloudError, ConfigurationError
from infra.azure.session import Cloud

if TYPE_CHECKING:
    from azure.mgmt.compute.models import AccessUri

ACCESS_S = 2 * 3600
ACCESS_DEADLINE_S = 900
# https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules; ARM compares ids without case.
_SNAPSHOT_ID = re.compile(
    r"/subscriptions/(?P<subscription>[0-9a-f-]{36})/resourceGroups/(?P<group>[^/]{1,90})"
    r"/providers/Microsoft\.Compute/snapshots/(?P<name>[A-Za-z0-9_.-]{1,80})/?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class SnapshotId:
    """The parts of a snapshot's ARM id."""

    subscription: str
    group: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """The parts; ConfigurationError when the text is no such id."""
        found = _SNAPSHOT_ID.fullmatch(text.strip())
        if found is None:
            raise ConfigurationError(
                f"{text[:200]!r} is not the id of a snapshot",
                hint="/subscriptions/<id>/resourceGroups/<group>/providers/Microsoft.Compute/snapshots/<name>",
            )
        return cls(**found.groupdict())


@contextmanager
def snapshot_read_access(cloud: Cloud, snapshot: SnapshotId, *, duration_s: int = ACCESS_S) -> Iterator[SecretStr]:
    """A read SAS of a snapshot, revoked at the end whatever happens. Raises CloudError, ConfigurationError for another subscription."""
    from azure.mgmt.compute.models import GrantAccessData

    if snapshot.subscription.lower() != cloud.profile.subscription_id.lower():
        raise ConfigurationError(
            f"snapshot {snapshot.name} is in subscription {snapshot.subscription}, the {cloud.profile.name} profile in another",
            hint="choose the other cloud with --profile",
        )
    snapshots = cloud.compute.snapshots
    grant = GrantAccessData({"access": "Read", "durationInSeconds": duration_s, "fileFormat": "VHD"})

    def revoke() -> None:
        cloud.wait.finish(
            f"revoke read access to snapshot {snapshot.name}",
            lambda polling: snapshots.begin_revoke_access(snapshot.group, snapshot.name, polling=polling),
            deadline_s=ACCESS_DEADLINE_S,
        )

    try:
        granted = cloud.wait.finish(
            f"get read access to snapshot {snapshot.name}",
            lambda polling: snapshots.begin_grant_access(snapshot.group, snapshot.name, grant, polling=polling),
            deadline_s=ACCESS_DEADLINE_S,
        )
        yield _granted_url(granted, snapshot)
    except BaseException:
        # The first error counts; a grant that can not be revoked now ends by itself.
        with suppress(CloudError):
            revoke()
        raise
    revoke()


def _granted_url(granted: AccessUri, snapshot: SnapshotId) -> SecretStr:
    if not granted.access_sas:
        raise CloudError(f"Azure granted access to snapshot {snapshot.name} without an address", code="NoAccessSas", hint="try again")
    return SecretStr(granted.access_sas)
