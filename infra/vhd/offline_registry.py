"""The parts of an inventory that stand in the registry hives of a disk. Places: infra.vhd.windows_places."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from images.inventory import Defender, Feature, OperatingSystem, Qfe, RegistryValue, Service
from infra.vhd import windows_places as places
from infra.vhd.errors import VhdError
from infra.vhd.hives import HiveKey, RegistryData
from infra.vhd.ntfs import NtfsVolume

_MAX_FEATURE_DEPTH = 16
_MANIFEST_NAMESPACE = "{urn:schemas-microsoft-com:asm.v3}"
_MAX_MANIFEST_BYTES = 4 * 2**20
_WIN32_SERVICE = 0x30
_USER_SERVICE_TEMPLATE = 0x40
_START_MODES = ("Boot", "System", "Auto", "Manual", "Disabled")
_FILETIME_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)
_KB = re.compile(r"KB\d{6,8}", re.IGNORECASE)


def read_operating_system(software: HiveKey, generation: str) -> OperatingSystem:
    """Product, build and UBR; VhdError when the hive has none."""
    key = software.require(places.CURRENT_VERSION)
    build = key.text("CurrentBuildNumber") or key.text("CurrentBuild")
    if not build.isdecimal():
        raise VhdError(f"the registry names no Windows build: {build!r}")
    return OperatingSystem(
        product_name=key.text("ProductName"),
        build=int(build),
        ubr=key.number("UBR") or 0,
        installation_type=key.text("InstallationType"),
        generation=generation,
    )


def read_features(software: HiveKey) -> tuple[Feature, ...]:
    """Installed server features as a tree: parents before children, siblings by display name."""
    cache = software.find(places.FEATURES)
    if cache is None:
        return ()
    installed: dict[str, tuple[str, str]] = {}
    spelled: dict[str, str] = {}
    for key in cache.subkeys():
        values = {value.name.casefold(): value.data for value in key.values()}
        if values.get("installstate") == 1:
            name = key.name.casefold()
            spelled[name] = key.name
            installed[name] = (_text(values.get("displayname")) or key.name, _text(values.get("parentname")).casefold())

    def below(parent: str, depth: int) -> Iterator[Feature]:
        if depth > _MAX_FEATURE_DEPTH:
            raise VhdError("the tree of server features goes in circles")
        children = [name for name, (_, of) in installed.items() if (of if of in installed else "") == parent]
        for name in sorted(children, key=lambda child: installed[child][0].casefold()):
            yield Feature(name=spelled[name], display_name=installed[name][0], depth=depth)
            yield from below(name, depth + 1)

    return tuple(below("", 0))


def read_capabilities(software: HiveKey) -> tuple[str, ...]:
    """Names of the installed capabilities, sorted."""
    index = software.find(places.CAPABILITY_INDEX)
    if index is None:
        return ()
    installed = {name.casefold() for name in _installed_packages(software)}
    found = []
    for capability in index.subkeys():
        packages = [key.name for key in capability.subkeys()] + [value.name for value in capability.values()]
        if any(package.casefold() in installed for package in packages):
            found.append(capability.name)
    return tuple(sorted(found))


def read_qfes(software: HiveKey, volume: NtfsVolume) -> tuple[Qfe, ...]:
    """Installed updates by KB, with what their manifests say; sorted."""
    found: dict[str, Qfe] = {}
    for package in _installed_packages(software):
        if package.startswith("Package_for_"):
            qfe = _describe_update(package, volume)
            if qfe is not None:
                found.setdefault(qfe.kb, qfe)
    return tuple(found[kb] for kb in sorted(found))


def read_services(control_set: HiveKey) -> tuple[Service, ...]:
    """Win32 services (no drivers, no templates of per-user services), sorted; their state is unknown on a disk."""
    services = control_set.require("Services")
    found = []
    for key in services.subkeys():
        values = {value.name.casefold(): value.data for value in key.values()}
        kind, start = values.get("type"), values.get("start")
        if not isinstance(kind, int) or not isinstance(start, int) or not kind & _WIN32_SERVICE or kind & _USER_SERVICE_TEMPLATE:
            continue
        mode = _START_MODES[start] if 0 <= start < len(_START_MODES) else str(start)
        if mode == "Auto" and values.get("delayedautostart") == 1:
            mode = "Auto (Delayed)"
        found.append(Service(name=key.name, start_mode=mode))
    return tuple(sorted(found, key=lambda service: service.name.lower()))


def read_excluded_udp_ports(control_set: HiveKey) -> tuple[int, ...]:
    """Ports that UDP sockets never get by chance, sorted."""
    key = control_set.find(places.EXCLUDED_UDP_PORTS)
    ports: set[int] = set()
    for value in key.values() if key else ():
        excluded = places.excluded_ports_of_name(value.name)
        if value.data == places.EXCLUDED_RANGE and excluded is not None:
            ports.update(excluded)
    return tuple(sorted(ports))


def read_defender(software: HiveKey) -> Defender | None:
    """Versions of Defender's platform and signatures; None when it is not installed."""
    key = software.find(places.DEFENDER)
    signatures = software.find(places.DEFENDER_SIGNATURES)
    if key is None or signatures is None or not signatures.text("AVSignatureVersion"):
        return None
    folder = key.text("InstallLocation").rstrip("\\").rpartition("\\")[2]
    # Folders of the platform are named version-revision, for example 4.18.24090.11-0.
    version = folder.partition("-")[0]
    updated = signatures.get("SignaturesLastUpdated")
    return Defender(
        platform_version=version if version[:1].isdecimal() else "",
        signature_version=signatures.text("AVSignatureVersion"),
        signatures_updated=_moment(updated) if isinstance(updated, bytes) else "",
    )


def read_registry_values(software: HiveKey, system: HiveKey, control_set: HiveKey, paths: Sequence[str]) -> tuple[RegistryValue, ...]:
    r"""Values of the keys at HKLM:\SOFTWARE\… and HKLM:\SYSTEM\…, sorted by path and name; keys that are absent give nothing."""
    found = []
    for path in paths:
        hive, _, rest = path.replace("HKLM:", "", 1).lstrip("\\").partition("\\")
        root = {"SOFTWARE": software, "SYSTEM": system}.get(hive.upper())
        current = "currentcontrolset"
        if root is system and (rest.casefold() == current or rest.casefold().startswith(current + "\\")):
            root, rest = control_set, rest[len(current) + 1 :]
        key = root.find(rest) if root is not None else None
        for value in key.values() if key else ():
            shown: int | str | list[str] = value.data.hex() if isinstance(value.data, bytes) else value.data
            found.append(RegistryValue(path=path, name=value.name, type=value.type, value=shown))
    return tuple(sorted(found, key=lambda value: (value.path.lower(), value.name.lower())))


def _installed_packages(software: HiveKey) -> Iterator[str]:
    packages = software.find(places.PACKAGES)
    return (key.name for key in (packages.subkeys() if packages else ()) if key.number("CurrentState") == places.PACKAGE_INSTALLED)


def _describe_update(package: str, volume: NtfsVolume) -> Qfe | None:
    manifest = f"{places.PACKAGE_MANIFESTS}\\{package}.mum"
    named = _KB.search(package)
    if volume.find(manifest) is None:
        return Qfe(kb=named.group(0).upper(), description="Update", support_link="") if named else None
    content = volume.read(manifest, max_bytes=_MAX_MANIFEST_BYTES)
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise VhdError(f"{manifest} declares entities, which no package manifest does")
    try:
        root = ET.fromstring(content)  # noqa: S314 - declarations were refused above
    except (ET.ParseError, ValueError) as error:
        raise VhdError(f"{manifest} is no package manifest: {error}") from error
    element = root.find(f"{_MANIFEST_NAMESPACE}package")
    attributes = element.attrib if element is not None else {}
    kb = _KB.search(attributes.get("identifier", "")) or named
    if kb is None:
        return None
    return Qfe(kb=kb.group(0).upper(), description=attributes.get("releaseType", ""), support_link=root.get("supportInformation", ""))


def _text(data: RegistryData | None) -> str:
    return data if isinstance(data, str) else ""


def _moment(filetime: bytes) -> str:
    try:
        moment = _FILETIME_EPOCH + timedelta(microseconds=int.from_bytes(filetime[:8], "little") // 10)
    except OverflowError:
        return ""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
