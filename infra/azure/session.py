"""One session with a cloud: the SDK clients, made on first use, with one policy for timeouts, retries and polling.

Measured here (Python 3.11, compiled bytecode present): importing azure-mgmt-compute and -network takes 0.9 s and 45 MB. Without
bytecode (PYTHONDONTWRITEBYTECODE, a fresh checkout) it takes 3 s and peaks at 350 MB, since the network SDK's operations are one file of
144,000 lines that is compiled each time; set-up should therefore install with bytecode. Nothing is imported before it is used.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from images.errors import ConfigurationError
from infra.azure.profile import CloudProfile, StorageAccess

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken, TokenCredential
    from azure.mgmt.compute import ComputeManagementClient
    from azure.mgmt.network import NetworkManagementClient
    from azure.mgmt.resource.resources import ResourceManagementClient
    from azure.storage.blob import BlobServiceClient

    from infra.azure.polling import Waiter

CONNECTION_TIMEOUT_S = 20
READ_TIMEOUT_S = 120
RETRIES = 6
BACKOFF_MAX_S = 60
BLOCK_BYTES = 4 * 1024 * 1024


class NoCredential:
    """The credential of a cloud that asks for no token; being asked is an error of the configuration."""

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        """Always raises ConfigurationError."""
        raise ConfigurationError(
            f"a token was asked for ({', '.join(scopes)}), but the profile says credential: none",
            hint="set credential: default in the profile, or give the storage account a key (stand-in only)",
        )


class Cloud:
    """SDK clients of one profile; made on first use, safe to share between threads, closed by `open_cloud`."""

    def __init__(self, profile: CloudProfile) -> None:
        self.profile = profile
        self._lock = threading.RLock()
        self._credential: TokenCredential | None = None
        self._compute: ComputeManagementClient | None = None
        self._network: NetworkManagementClient | None = None
        self._resources: ResourceManagementClient | None = None
        self._blobs: dict[str, BlobServiceClient] = {}
        self._waiter: Waiter | None = None

    @property
    def credential(self) -> TokenCredential:
        """DefaultAzureCredential, or one that refuses to be asked."""
        with self._lock:
            if self._credential is None:
                if self.profile.credential == "none":
                    self._credential = NoCredential()
                else:
                    from azure.identity import DefaultAzureCredential

                    self._credential = DefaultAzureCredential(exclude_interactive_browser_credential=True)
            return self._credential

    @property
    def wait(self) -> Waiter:
        """Waits for long-running operations at this profile's pace."""
        with self._lock:
            if self._waiter is None:
                from infra.azure.polling import Waiter

                self._waiter = Waiter(self.profile.poll_interval_s)
            return self._waiter

    @property
    def compute(self) -> ComputeManagementClient:
        """VMs, disks, snapshots, images, Run Command."""
        with self._lock:
            if self._compute is None:
                from azure.mgmt.compute import ComputeManagementClient

                self._compute = ComputeManagementClient(self.credential, self.profile.subscription_id, **self._arm_options())
            return self._compute

    @property
    def network(self) -> NetworkManagementClient:
        """Network security groups, virtual networks, public addresses, interfaces."""
        with self._lock:
            if self._network is None:
                from azure.mgmt.network import NetworkManagementClient

                self._network = NetworkManagementClient(self.credential, self.profile.subscription_id, **self._arm_options())
            return self._network

    @property
    def resources(self) -> ResourceManagementClient:
        """Resource groups."""
        with self._lock:
            if self._resources is None:
                from azure.mgmt.resource.resources import ResourceManagementClient

                self._resources = ResourceManagementClient(self.credential, self.profile.subscription_id, **self._arm_options())
            return self._resources

    def blobs(self, access: StorageAccess | None = None) -> BlobServiceClient:
        """The blob service of a storage account; default: the profile's own account."""
        access = access or self.profile.storage
        with self._lock:
            service = self._blobs.get(access.endpoint)
            if service is None:
                from azure.storage.blob import BlobServiceClient

                key = access.key.get_secret_value() if access.key else None
                credential = {"account_name": access.account, "account_key": key} if key else self.credential
                service = BlobServiceClient(access.endpoint, credential=credential, **blob_options(self.profile.poll_interval_s))
                self._blobs[access.endpoint] = service
            return service

    def close(self) -> None:
        """Close all connections; what Azure is doing goes on."""
        with self._lock:
            if self._waiter is not None:
                self._waiter.close()
            for client in (self._compute, self._network, self._resources, *self._blobs.values()):
                if client is not None:
                    client.close()
            if self._credential is not None and not isinstance(self._credential, NoCredential):
                closing = getattr(self._credential, "close", None)
                if closing is not None:
                    closing()

    def _arm_options(self) -> dict[str, Any]:
        from azure.core.pipeline.policies import RetryPolicy, SansIOHTTPPolicy

        options: dict[str, Any] = {
            "base_url": self.profile.arm_endpoint,
            "connection_timeout": CONNECTION_TIMEOUT_S,
            "read_timeout": READ_TIMEOUT_S,
            "polling_interval": self.profile.poll_interval_s,
            # azure-core's policy obeys Retry-After where the answer has one; the rest is for answers without it.
            "retry_policy": RetryPolicy(
                retry_total=RETRIES,
                retry_status=RETRIES,
                retry_backoff_factor=min(0.8, self.profile.poll_interval_s),
                retry_backoff_max=BACKOFF_MAX_S,
            ),
        }
        if self.profile.credential == "none":
            options["authentication_policy"] = SansIOHTTPPolicy()
        else:
            # Tokens for another cloud (Azure Government, China) are issued for that cloud's ARM endpoint.
            options["credential_scopes"] = [f"{self.profile.arm_endpoint.rstrip('/')}/.default"]
        return options


def blob_options(poll_interval_s: float) -> dict[str, Any]:
    """Timeouts, retries and block sizes of every blob client, also of those made from a SAS URL."""
    from infra.azure.blob_retry import BlobRetry

    return {
        "connection_timeout": CONNECTION_TIMEOUT_S,
        "read_timeout": READ_TIMEOUT_S,
        "retry_policy": BlobRetry(first_backoff_s=min(1.0, poll_interval_s)),
        "max_block_size": BLOCK_BYTES,
        "max_single_put_size": BLOCK_BYTES,
        "max_single_get_size": BLOCK_BYTES,
        "max_chunk_get_size": BLOCK_BYTES,
    }


@contextmanager
def open_cloud(profile: CloudProfile) -> Iterator[Cloud]:
    """A session with the profile's cloud; connections are closed at the end."""
    cloud = Cloud(profile)
    try:
        yield cloud
    finally:
        cloud.close()
