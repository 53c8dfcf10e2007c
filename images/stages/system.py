"""Stages that change Windows itself: the `os` layer and settings."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from images.definition import RegistrySetting, TlsProtocol
from images.frozen import Frozen
from images.stages.contract import NoInput, StageContract, StageInput, StageResult


class ExpandOsPartitionResult(StageResult):
    size_bytes: int = Field(description="Size of C: afterwards.")


class WindowsUpdatePolicyInput(StageInput):
    no_auto_update: bool


class UdpPortExclusionInput(StageInput):
    ports: tuple[int, ...]


class CapabilityInput(StageInput):
    capabilities: tuple[str, ...]


class CapabilityResult(StageResult):
    installed: tuple[str, ...] = Field(description="Capabilities that were added by this run.")


class OpenSshInput(StageInput):
    password_authentication: bool
    permit_empty_passwords: bool
    ciphers: tuple[str, ...]
    macs: tuple[str, ...]
    kex_algorithms: tuple[str, ...]


class UpdateFile(Frozen):
    """An update's file; url is a short-lived read SAS when the script gets it."""

    kb: str
    file_name: str
    url: str
    sha256: str
    size_bytes: int
    installer: Literal["wusa", "dism"] = Field(description="wusa for .msu on 17763 and 20348; dism for .cab and on 26100.")
    build: str | None = Field(default=None, description="build.UBR that this update brings.")
    checkpoint: bool = Field(default=False, description="A later update of the list is a difference to it: DISM takes it from the folder.")


class UpdateInput(StageInput):
    updates: tuple[UpdateFile, ...]
    promised_build: str | None = Field(description="build.UBR that must be there after the restart, checked by get-guest-state.")


class AgentUpdate(Frozen):
    """An update that the Windows Update agent fetches itself."""

    kb: str
    build: str | None = Field(description="build.UBR that this update brings.")


class AgentUpdateInput(StageInput):
    updates: tuple[AgentUpdate, ...] = Field(description="Exactly these are installed, in this order, whatever else Windows Update offers.")
    promised_build: str | None = Field(description="build.UBR that must be there after the restart, checked by get-guest-state.")


class UpdateOutcome(Frozen):
    kb: str
    outcome: Literal["installed", "already-installed", "superseded", "with-target"] = Field(
        description="with-target: a checkpoint that lies beside the update that needs it."
    )
    exit_code: int


class UpdateResult(StageResult):
    updates: tuple[UpdateOutcome, ...]


class FeatureInput(StageInput):
    features: tuple[str, ...]


class FeatureResult(StageResult):
    installed: tuple[str, ...] = Field(description="Features that were added by this run, dependencies included.")


class WinRmStartModeInput(StageInput):
    mode: Literal["auto", "delayed-auto"]


class RestartResult(StageResult):
    boot_time: str = Field(description="Boot time before the restart, ISO 8601 UTC: another one means that it happened.")


class GuestStateResult(StageResult):
    boot_time: str
    computer_name: str
    os_build: str = Field(description="build.UBR.")
    pending_reboot: bool
    free_bytes: int
    services_stable: bool = Field(description="True when no automatic service is still starting.")


class RegistryInput(StageInput):
    settings: tuple[RegistrySetting, ...]


class RegistryResult(StageResult):
    changed_values: tuple[str, ...] = Field(description="path\\name of the values that this run changed.")


class PagefileInput(StageInput):
    size_mib: int


class TlsProtocolInput(StageInput):
    disabled: tuple[TlsProtocol, ...]
    enabled: tuple[TlsProtocol, ...]


class ComponentStoreResult(StageResult):
    free_bytes: int = Field(description="Free space of C: afterwards.")


EXPAND_OS_PARTITION = StageContract(
    "expand-os-partition", "Expand-OsPartition.ps1", NoInput, ExpandOsPartitionResult, title="Grow C: to the disk"
)
SET_UPDATE_POLICY = StageContract(
    "set-windows-update-policy", "Set-WindowsUpdatePolicy.ps1", WindowsUpdatePolicyInput, StageResult, title="Windows Update policy"
)
ADD_UDP_EXCLUSION = StageContract(
    "add-udp-port-exclusion", "Add-UdpPortExclusion.ps1", UdpPortExclusionInput, StageResult, title="Exclude UDP ports"
)
INSTALL_CAPABILITY = StageContract(
    "install-capability",
    "Install-WindowsCapability.ps1",
    CapabilityInput,
    CapabilityResult,
    elevated=True,
    timeout_s=3600,
    title="Capabilities",
)
SET_OPENSSH = StageContract("set-openssh-server", "Set-OpenSshServer.ps1", OpenSshInput, StageResult, title="OpenSSH server")
INSTALL_UPDATE = StageContract(
    "install-update",
    "Install-WindowsUpdatePackage.ps1",
    UpdateInput,
    UpdateResult,
    elevated=True,
    timeout_s=3 * 3600,
    title="Updates (QFEs)",
)
INSTALL_AGENT_UPDATE = StageContract(
    "install-agent-update",
    "Install-AgentUpdate.ps1",
    AgentUpdateInput,
    UpdateResult,
    elevated=True,
    timeout_s=3 * 3600,
    title="Updates (Windows Update)",
)
CLEAR_COMPONENT_STORE = StageContract(
    "clear-component-store",
    "Clear-ComponentStore.ps1",
    NoInput,
    ComponentStoreResult,
    elevated=True,
    timeout_s=3600,
    title="Superseded components",
)
INSTALL_FEATURE = StageContract(
    "install-feature", "Install-NodeFeature.ps1", FeatureInput, FeatureResult, elevated=True, timeout_s=3600, title="Features"
)
SET_WINRM_START = StageContract(
    "set-winrm-start-mode", "Set-WinRmStartMode.ps1", WinRmStartModeInput, StageResult, title="WinRM start mode"
)
RESTART_GUEST = StageContract("restart-guest", "Restart-Guest.ps1", NoInput, RestartResult, title="Restart")
GET_GUEST_STATE = StageContract("get-guest-state", "Get-GuestState.ps1", NoInput, GuestStateResult, timeout_s=120, title="Guest state")
SET_REGISTRY = StageContract("set-registry-setting", "Set-RegistrySetting.ps1", RegistryInput, RegistryResult, title="Registry settings")
SET_PAGEFILE = StageContract("set-pagefile", "Set-Pagefile.ps1", PagefileInput, StageResult, title="Page file")
SET_TLS_PROTOCOL = StageContract("set-tls-protocol", "Set-TlsProtocol.ps1", TlsProtocolInput, StageResult, title="TLS protocols")

SYSTEM_STAGES = (
    EXPAND_OS_PARTITION,
    SET_UPDATE_POLICY,
    ADD_UDP_EXCLUSION,
    INSTALL_CAPABILITY,
    SET_OPENSSH,
    INSTALL_UPDATE,
    CLEAR_COMPONENT_STORE,
    INSTALL_AGENT_UPDATE,
    INSTALL_FEATURE,
    SET_WINRM_START,
    RESTART_GUEST,
    GET_GUEST_STATE,
    SET_REGISTRY,
    SET_PAGEFILE,
    SET_TLS_PROTOCOL,
)
