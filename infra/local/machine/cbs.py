r"""Component Based Servicing: which packages are on the disk, and what waits for a restart.

Below SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing: Packages\<identity> with CurrentState in servicing's own numbers
(0x70 installed, 0x60 install pending, 0x50 superseded), CapabilityIndex\<capability>\<identity>, and a key RebootPending while a restart is
needed. An update's KB, kind and link are in its manifest C:\Windows\servicing\Packages\<identity>.mum, from where Get-HotFix has them.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass

from infra.local.machine.disk import MachineDisk, RegistryKey

INSTALLED, INSTALL_PENDING, SUPERSEDED = 0x70, 0x60, 0x50
_SERVICING = r"HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing"
_MANIFESTS = r"C:\Windows\servicing\Packages"
_TOKEN = "31bf3856ad364e35"  # noqa: S105 - Microsoft's public key token, part of every package identity
_NAMESPACE = "urn:schemas-microsoft-com:asm.v3"
_STARTS_LEFT, _FAILS_AT_START = "StandinStartsLeft", "StandinFailsAtStart"
"""The model's own notes beside a pending package; Windows keeps such in pending.xml."""
_ROLLUP = re.compile(r"Package_for_RollupFix~[^~]*~[^~]*~[^~]*~(\d+)\.(\d+)\.")


@dataclass(frozen=True)
class HotFix:
    """An update, as Get-HotFix shows it."""

    kb: str
    description: str
    support_link: str


def update_identity(kb: str, build: int, promised_ubr: int | None) -> str:
    """Package identity of an update: a cumulative update's carries the build it brings, others' the KB."""
    if promised_ubr is not None:
        return f"Package_for_RollupFix~{_TOKEN}~amd64~~{build}.{promised_ubr}.1.1"
    return f"Package_for_{kb}~{_TOKEN}~amd64~~10.0.1.1"


def add_update(disk: MachineDisk, identity: str, hotfix: HotFix, state: int) -> None:
    """Register an update's package with its manifest."""
    key = disk.make_key(rf"{_SERVICING}\Packages\{identity}")
    key.set("CurrentState", state)
    key.set("InstallClient", "WindowsUpdateAgent")
    key.set("InstallName", f"{identity}.mum")
    key.set("InstallLocation", rf"\\?\C:\Windows\SoftwareDistribution\Download\Windows10.0-{hotfix.kb}-x64.cab" + "\\")
    name, token, architecture, _, version = identity.split("~")
    assembly = ET.Element("assembly", {"xmlns": _NAMESPACE, "manifestVersion": "1.0", "supportInformation": hotfix.support_link})
    ET.SubElement(
        assembly,
        "assemblyIdentity",
        {"name": name, "version": version, "processorArchitecture": architecture, "language": "neutral", "publicKeyToken": token},
    )
    ET.SubElement(assembly, "package", {"identifier": hotfix.kb, "releaseType": hotfix.description})
    disk.write(rf"{_MANIFESTS}\{identity}.mum", ET.tostring(assembly, encoding="utf-8", xml_declaration=True))


def package_state(disk: MachineDisk, identity: str) -> int | None:
    """CurrentState of a package, None when servicing does not know it."""
    key = disk.key(rf"{_SERVICING}\Packages\{identity}")
    state = key.get("CurrentState") if key else None
    return state if isinstance(state, int) else None


def packages_in(disk: MachineDisk, state: int) -> tuple[str, ...]:
    """Identities of the packages in a state, sorted."""
    packages = disk.make_key(rf"{_SERVICING}\Packages")
    return tuple(sorted(key.name for key in packages.keys.values() if key.get("CurrentState") == state))


def remove_package(disk: MachineDisk, identity: str) -> None:
    """Forget a package whose installation is undone."""
    disk.make_key(rf"{_SERVICING}\Packages").remove_key(identity)
    disk.path(rf"{_MANIFESTS}\{identity}.mum").unlink(missing_ok=True)


def hotfixes(disk: MachineDisk) -> tuple[HotFix, ...]:
    """Installed updates, sorted by KB."""
    found = []
    for key in disk.make_key(rf"{_SERVICING}\Packages").keys.values():
        if key.name.startswith("Package_for_") and key.get("CurrentState") == INSTALLED:
            found.append(_read_manifest(disk, key.name))
    return tuple(sorted(found, key=lambda hotfix: hotfix.kb))


def find_kb(disk: MachineDisk, kb: str) -> int | None:
    """CurrentState of the package of a KB, None when the KB was never installed."""
    for key in disk.make_key(rf"{_SERVICING}\Packages").keys.values():
        if key.name.startswith("Package_for_") and _read_manifest(disk, key.name).kb == kb:
            state = key.get("CurrentState")
            return state if isinstance(state, int) else None
    return None


def _read_manifest(disk: MachineDisk, identity: str) -> HotFix:
    root = ET.fromstring(disk.path(rf"{_MANIFESTS}\{identity}.mum").read_bytes())  # noqa: S314 - written by add_update
    package = root.find(f"{{{_NAMESPACE}}}package")
    attributes = package.attrib if package is not None else {}
    return HotFix(attributes.get("identifier", ""), attributes.get("releaseType", ""), root.get("supportInformation", ""))


def add_capability(disk: MachineDisk, capability: str, build: int) -> None:
    """Register a capability with its package."""
    name, _, _, language, _ = capability.split("~")
    identity = f"{name.replace('.', '-')}-Package~{_TOKEN}~amd64~{language}~10.0.{build}.1"
    disk.make_key(rf"{_SERVICING}\Packages\{identity}").set("CurrentState", INSTALLED)
    disk.make_key(rf"{_SERVICING}\CapabilityIndex\{capability}\{identity}")


def capabilities(disk: MachineDisk) -> tuple[str, ...]:
    """Installed capabilities, sorted."""
    found = []
    for key in disk.make_key(rf"{_SERVICING}\CapabilityIndex").keys.values():
        if any(package_state(disk, package.name) == INSTALLED for package in key.keys.values()):
            found.append(key.name)
    return tuple(sorted(found))


def set_reboot_pending(disk: MachineDisk) -> None:
    """Note that a change waits for a restart."""
    disk.make_key(rf"{_SERVICING}\RebootPending")


def is_reboot_pending(disk: MachineDisk) -> bool:
    """True while a change waits for a restart."""
    return disk.key(rf"{_SERVICING}\RebootPending") is not None


def pending_ubr(disk: MachineDisk) -> int | None:
    """The update build revision that the next restart brings, None when no cumulative update waits."""
    waiting = [
        int(rollup.group(2))
        for key in disk.make_key(rf"{_SERVICING}\Packages").keys.values()
        if key.get("CurrentState") == INSTALL_PENDING and (rollup := _ROLLUP.match(key.name))
    ]
    return max(waiting, default=None)


def remove_superseded(disk: MachineDisk) -> tuple[str, ...]:
    """What DISM /StartComponentCleanup does: superseded packages go; their identities."""
    packages = disk.make_key(rf"{_SERVICING}\Packages")
    doomed = [key.name for key in packages.keys.values() if key.get("CurrentState") == SUPERSEDED]
    for identity in doomed:
        packages.remove_key(identity)
        disk.path(rf"{_MANIFESTS}\{identity}.mum").unlink(missing_ok=True)
    return tuple(sorted(doomed))


def let_fail_at_start(disk: MachineDisk, identity: str) -> None:
    """The next start undoes this package, as Windows does when servicing fails there."""
    disk.make_key(rf"{_SERVICING}\Packages\{identity}").set(_FAILS_AT_START, 1)


def ask_for_starts(disk: MachineDisk, identity: str, starts: int) -> None:
    """This pending package needs that many starts until it is installed."""
    disk.make_key(rf"{_SERVICING}\Packages\{identity}").set(_STARTS_LEFT, starts)


def _is_still_pending(disk: MachineDisk, package: RegistryKey) -> bool:
    """Whether a start has not finished a pending package: another one is needed, or it was undone."""
    if package.get(_FAILS_AT_START):
        remove_package(disk, package.name)
        return True
    starts = package.get(_STARTS_LEFT)
    if isinstance(starts, int) and starts > 1:
        package.set(_STARTS_LEFT, starts - 1)
        set_reboot_pending(disk)
        return True
    package.remove_value(_STARTS_LEFT)
    return False


def finish_pending(disk: MachineDisk) -> int | None:
    """What servicing does while Windows starts: pending packages become installed; the update build revision they bring, or None."""
    disk.make_key(_SERVICING).remove_key("RebootPending")
    pending = [key for key in disk.make_key(rf"{_SERVICING}\Packages").keys.values() if key.get("CurrentState") == INSTALL_PENDING]
    reached: int | None = None
    for key in pending:
        if _is_still_pending(disk, key):
            continue
        key.set("CurrentState", INSTALLED)
        if rollup := _ROLLUP.match(key.name):
            reached = max(reached or 0, int(rollup.group(2)))
    if reached is not None:
        for key in disk.make_key(rf"{_SERVICING}\Packages").keys.values():
            rollup = _ROLLUP.match(key.name)
            if rollup and int(rollup.group(2)) < reached:
                key.set("CurrentState", SUPERSEDED)
    return reached
