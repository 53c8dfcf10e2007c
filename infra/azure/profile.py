"""CloudProfile: where a build runs. The same code serves Azure and the stand-in; only these values differ."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator

from images.frozen import Frozen


class StorageAccess(Frozen):
    """How to reach a storage account; a key only for the stand-in, else azure-identity and user delegation SAS."""

    account: str
    endpoint: str = Field(description="Blob endpoint, for example https://<account>.blob.core.windows.net.")
    key: SecretStr | None = Field(default=None, description="Account key of the stand-in; never set for Azure.")


class CloudProfile(Frozen):
    """One cloud: subscription, region, sizes, endpoints."""

    name: Literal["local", "azure"]
    subscription_id: str
    location: str = Field(description="Azure region, for example westus3.")
    vm_sizes: tuple[str, ...] = Field(min_length=1, description="Sizes to try in this order when an allocation is refused.")
    vcpu_quota: int | None = Field(
        default=None,
        ge=1,
        description="vCPUs that the VMs of all builds together may have at a time; others wait. One that is being deleted counts no more:"
        " leave Azure's own quota some room above. Empty: no limit but Azure's own.",
    )
    zones: tuple[str, ...] = Field(default=(), description="Zones to try; empty leaves the choice to Azure.")
    resource_group_prefix: str = "winvhd"
    arm_endpoint: str = "https://management.azure.com"
    credential: Literal["default", "none"] = Field(
        default="default", description="default: azure-identity; none: the stand-in, which asks for no token."
    )
    storage: StorageAccess = Field(description="Account for the artifact cache and the builds' results.")
    copy_targets: tuple[StorageAccess, ...] = Field(default=(), description="Accounts that --copy-to may name.")
    source_address: str | None = Field(default=None, description="The only address that may reach the guests: an address or a CIDR range.")
    winrm_port: int = Field(default=5986, ge=0, le=65535, description="0: take a free port, where all guests share one address.")
    outside_gateway: str | None = Field(default=None, description="Base URL that answers for the Internet; only the stand-in has one.")
    origin_log_url: str | None = Field(default=None, description="Where the stand-in's artifact origin shows its request log.")
    poll_interval_s: float = Field(default=5.0, gt=0, description="Wait between polls when the server does not say Retry-After.")
    restart_limit_s: float = Field(default=1800.0, gt=0, description="How long a restarted guest may take, its updates at boot included.")
    silence_limit_s: float = Field(default=300.0, ge=0, description="How long a guest that does not answer is asked again.")

    @model_validator(mode="after")
    def _guests_are_not_open_to_everybody(self) -> Self:
        if self.name == "azure" and not self.source_address:
            raise ValueError("source_address is missing: without it the guests' WinRM port would be open to the whole Internet")
        return self

    def route(self, url: str) -> str:
        """The address to fetch a public URL from."""
        if self.outside_gateway is None or "://127.0.0.1" in url:
            return url
        return f"{self.outside_gateway.rstrip('/')}/{url.partition('://')[2]}"
