"""The `os` layer: disk, policy, settings, capabilities, updates, features."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Literal

from images.catalogue import DISM_ONLY_BUILDS
from images.definition import ImageDefinition
from images.fingerprint import CACHE_SCHEME
from images.lock import ImageLock, LockedFile, LockedUpdate
from images.stages.contract import NoInput
from images.stages.system import (
    ADD_UDP_EXCLUSION,
    CLEAR_COMPONENT_STORE,
    EXPAND_OS_PARTITION,
    INSTALL_AGENT_UPDATE,
    INSTALL_CAPABILITY,
    INSTALL_FEATURE,
    INSTALL_UPDATE,
    SET_OPENSSH,
    SET_PAGEFILE,
    SET_TLS_PROTOCOL,
    SET_UPDATE_POLICY,
    SET_WINRM_START,
    AgentUpdate,
    AgentUpdateInput,
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
from images.updates.feed import build_numbers


def os_steps(definition: ImageDefinition, lock: ImageLock) -> Iterator[Step]:
    """The steps of the `os` layer, in order."""
    yield Step.of(EXPAND_OS_PARTITION, NoInput())
    yield from policy_steps(definition)
    system = definition.system
    if system.excluded_udp_ports:
        yield Step.of(ADD_UDP_EXCLUSION, UdpPortExclusionInput(ports=system.excluded_udp_ports))
    if system.pagefile_mib is not None:
        yield Step.of(SET_PAGEFILE, PagefileInput(size_mib=system.pagefile_mib))
    if not lock.updates:
        # The base image comes with components that its own updates superseded.
        yield Step.of(CLEAR_COMPONENT_STORE, NoInput())
    if definition.capabilities:
        yield Step.of(INSTALL_CAPABILITY, CapabilityInput(capabilities=definition.capabilities))
    if system.openssh is not None:
        yield Step.of(SET_OPENSSH, OpenSshInput(**system.openssh.model_dump()))
    yield from update_steps(lock)
    if lock.updates:
        # After the restart that completes them: DISM refuses while one is due. Before the features, which need one as well.
        yield Step.of(CLEAR_COMPONENT_STORE, NoInput())
    if definition.features:
        # Hyper-V rebuilds the network at its first boot; a WinRM that started before would be cut off.
        yield Step.of(SET_WINRM_START, WinRmStartModeInput(mode="delayed-auto"))
        # Last in its layer: the restart that it needs is the stop for the checkpoint. The next layer makes WinRM start at once again.
        yield Step.of(INSTALL_FEATURE, FeatureInput(features=definition.features), restart_after=True)


def policy_steps(definition: ImageDefinition) -> Iterator[Step]:
    """Policies that later steps may reset; they are set again at the end."""
    system = definition.system
    yield Step.of(SET_UPDATE_POLICY, WindowsUpdatePolicyInput(no_auto_update=system.windows_update_off))
    if system.tls_disabled or system.tls_enabled:
        yield Step.of(SET_TLS_PROTOCOL, TlsProtocolInput(disabled=system.tls_disabled, enabled=system.tls_enabled))


def update_steps(lock: ImageLock) -> Iterator[Step]:
    """The locked updates in their order: files in one step, what the Windows Update agent fetches in another, each with its restart.

    Servicing refuses to stack features on updates that still wait for their restart, and the promised build shows only after it. A group
    below what Windows has reached by then, in the base or by an earlier group, promises nothing: all of it is superseded.
    """
    windows_build, *_ = reached = build_numbers(lock.base_version)[:2]
    for has_file, group in groupby(lock.updates, key=lambda update: update.file is not None):
        updates = tuple(group)
        newest = max((update.build for update in updates if update.build), key=build_numbers, default=None)
        is_overtaken = newest is not None and (windows_build,) < build_numbers(newest) < reached
        promised = None if is_overtaken else newest
        if promised is not None:
            reached = max(reached, build_numbers(promised))
        if has_file:
            files = tuple(_update_file(update, update.file, windows_build, newest) for update in updates if update.file is not None)
            yield Step.of(INSTALL_UPDATE, UpdateInput(updates=files, promised_build=promised), restart_after=True)
        else:
            named = tuple(AgentUpdate(kb=update.kb, build=update.build) for update in updates)
            yield Step.of(INSTALL_AGENT_UPDATE, AgentUpdateInput(updates=named, promised_build=promised), restart_after=True)


def _update_file(update: LockedUpdate, file: LockedFile, windows_build: int, newest: str | None) -> UpdateFile:
    name = file.url.split("?", 1)[0].rsplit("/", 1)[-1]
    is_older = update.build is not None and newest is not None and build_numbers(update.build) < build_numbers(newest)
    return UpdateFile(
        kb=update.kb,
        file_name=name,
        url=f"{CACHE_SCHEME}{file.sha256}",
        sha256=file.sha256,
        size_bytes=file.size_bytes,
        installer=_installer(windows_build, name),
        build=update.build,
        # Where DISM takes what an update builds on from its folder, an older cumulative update is there for that.
        checkpoint=update.checkpoint or (is_older and windows_build in DISM_ONLY_BUILDS),
    )


def _installer(build: int, file_name: str) -> Literal["wusa", "dism"]:
    return "dism" if file_name.lower().endswith(".cab") or build in DISM_ONLY_BUILDS else "wusa"
