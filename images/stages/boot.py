"""Stages of the boot test, and first contact (which goes through Run Command, before there is a link)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from images.frozen import Frozen
from images.stages.contract import NoInput, StageContract, StageInput, StageResult


class RemotingInput(StageInput):
    """First contact. The password travels in Run Command's protected parameters, never in this object's stored form."""

    address: str = Field(description="IP address or host name that the client dials; goes into the certificate's SAN.")
    port: int = Field(description="Port of the HTTPS listener.")
    account: str
    nonce: str = Field(description="Echoed: a restored disk can answer with a stale status.")


class RemotingResult(StageResult):
    certificate: str = Field(description="The listener's certificate, DER in base64: the only one that the client trusts.")
    thumbprint: str
    port: int
    nonce: str


class FirstBootResult(StageResult):
    image_state: str = Field(description="IMAGE_STATE_COMPLETE after a good first boot.")
    leftovers: tuple[str, ...] = Field(
        description="Accounts, listeners, folders and tasks of the build that are still there; must be empty."
    )
    vhd_id: str


class BootstrapFile(Frozen):
    """A file the node bootstrap needs: looked up by base name under the cache, downloaded from url when absent."""

    name: str
    url: str
    sha256: str
    size_bytes: int


class BootstrapVersion(Frozen):
    """One Kubernetes version and its files."""

    kubernetes_version: str
    files: tuple[BootstrapFile, ...]


class BootstrapInput(StageInput):
    versions: tuple[BootstrapVersion, ...]
    cache_root: str
    work_folder: str


class BootstrapFileOutcome(Frozen):
    kubernetes_version: str
    name: str
    source: Literal["cache", "download", "missing"]
    verified: bool
    unpacked_files: int
    seconds: float
    error: str = ""


class BootstrapResult(StageResult):
    files: tuple[BootstrapFileOutcome, ...]
    downloads: int


class NetworkingCheck(Frozen):
    """One step of a pod's networking; a step that was not reached because an earlier one failed has failed as well."""

    name: str
    passed: bool
    seconds: float
    error: str


class NetworkingInput(StageInput):
    """A network of its own that must not be in use: 10.244.250.0/24 and the like."""

    subnet: str = Field(pattern=r"^\d+\.\d+\.\d+\.0/24$")


class NetworkingResult(StageResult):
    checks: tuple[NetworkingCheck, ...]


class OutboundInput(StageInput):
    blocked: bool = Field(description="True adds a firewall rule that refuses outbound traffic; answers of WinRM still pass.")


ENABLE_REMOTING = StageContract("enable-build-remoting", "Enable-BuildRemoting.ps1", RemotingInput, RemotingResult, title="First contact")
TEST_FIRST_BOOT = StageContract("test-first-boot", "Test-FirstBoot.ps1", NoInput, FirstBootResult, title="First boot")
TEST_NODE_BOOTSTRAP = StageContract(
    "test-node-bootstrap", "Test-NodeBootstrap.ps1", BootstrapInput, BootstrapResult, timeout_s=3600, title="Node bootstrap"
)
TEST_NETWORKING = StageContract(
    "test-pod-networking", "Test-PodNetworking.ps1", NetworkingInput, NetworkingResult, elevated=True, title="Pod networking"
)
SET_OUTBOUND = StageContract("set-outbound-access", "Set-OutboundAccess.ps1", OutboundInput, StageResult, title="Outbound network")

BOOT_STAGES = (TEST_FIRST_BOOT, TEST_NODE_BOOTSTRAP, TEST_NETWORKING, SET_OUTBOUND)
