"""The `os` layer: disk, policy, settings, capabilities, updates, features."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from images.catalogue import DISM_ONLY_BUILDS
from images.definition import ImageDefinition
from images.errors import DefinitionError, Problem
from images.fingerprint import CACHE_SCHEME
from images.lock import ImageLock
from images.stages.contract import NoInput
from images.stages.system import (
    ADD_UDP_EXCLUSION,
    EXPAND_OS_PARTITION,
    INSTALL_CAPABILITY,
    INSTALL_FEATURE,
    INSTALL_UPDATE,
    SET_OPENSSH,
    SET_PAGEFILE,
    SET_TLS_PROTOCOL,
    SET_UPDATE_POLICY,
    SET_WINRM_START,
    CapabilityInput,
    FeatureInput,
    OpenSshInput,
    PagefileInput,
    TlsProtocolInput,
    UdpPortExclusionInput,
    UpdateFile,
    UpdateInput,
    WindowsUpdatePolicyInput,
    WinRmStartModeInput,
)
from images.steps.step import Step


def os_steps(definition: ImageDefinition, lock: ImageLock) -> Iterator[Step]:
    """The steps of the `os` layer, in order."""
    yield Step.of(EXPAND_OS_PARTITION, NoInput())
    yield from policy_steps(definition)
    system = definition.system
    if system.excluded_udp_ports:
        yield Step.of(ADD_UDP_EXCLUSION, UdpPortExclusionInput(ports=system.excluded_udp_ports))
    if system.pagefile_mib is not None:
        yield Step.of(SET_PAGEFILE, PagefileInput(size_mib=system.pagefile_mib))
    if definition.capabilities:
        yield Step.of(INSTALL_CAPABILITY, CapabilityInput(capabilities=definition.capabilities))
    if system.openssh is not None:
        yield Step.of(SET_OPENSSH, OpenSshInput(**system.openssh.model_dump()))
    if definition.updates:
        # Servicing refuses to stack features on updates that still wait for their restart, and the promised build shows only after it.
        yield Step.of(INSTALL_UPDATE, _updates(definition, lock), restart_after=True)
    if definition.features:
        # Hyper-V rebuilds the network at its first boot; a WinRM that started before would be cut off.
        yield Step.of(SET_WINRM_START, WinRmStartModeInput(mode="delayed-auto"))
        yield Step.of(INSTALL_FEATURE, FeatureInput(features=definition.features), restart_after=True)
        yield Step.of(SET_WINRM_START, WinRmStartModeInput(mode="auto"))


def policy_steps(definition: ImageDefinition) -> Iterator[Step]:
    """Policies that later steps may reset; they are set again at the end."""
    system = definition.system
    yield Step.of(SET_UPDATE_POLICY, WindowsUpdatePolicyInput(no_auto_update=system.windows_update_off))
    if system.tls_disabled or system.tls_enabled:
        yield Step.of(SET_TLS_PROTOCOL, TlsProtocolInput(disabled=system.tls_disabled, enabled=system.tls_enabled))


def _updates(definition: ImageDefinition, lock: ImageLock) -> UpdateInput:
    build = int(lock.base_version.split(".", 1)[0])
    files: list[UpdateFile] = []
    promised: str | None = None
    for update in lock.updates:
        if update.file is None:
            raise DefinitionError(
                [
                    Problem(
                        definition.name,
                        0,
                        "updates",
                        f"{update.kb} has no URL",
                        "give the .msu or .cab from catalog.update.microsoft.com; the Windows Update agent can not be pinned to bytes",
                    )
                ]
            )
        name = update.file.url.split("?", 1)[0].rsplit("/", 1)[-1]
        files.append(
            UpdateFile(
                kb=update.kb,
                file_name=name,
                url=f"{CACHE_SCHEME}{update.file.sha256}",
                sha256=update.file.sha256,
                size_bytes=update.file.size_bytes,
                installer=_installer(build, name),
            )
        )
        promised = _newer(promised, update.build)
    return UpdateInput(updates=tuple(files), promised_build=promised)


def _installer(build: int, file_name: str) -> Literal["wusa", "dism"]:
    return "dism" if file_name.lower().endswith(".cab") or build in DISM_ONLY_BUILDS else "wusa"


def _newer(one: str | None, other: str | None) -> str | None:
    """The newer of two build.UBR, compared as numbers: 20348.999 is older than 20348.1006."""
    present = [each for each in (one, other) if each]
    return max(present, key=lambda build: tuple(int(part) for part in build.split(".")), default=None)
