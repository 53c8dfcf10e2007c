"""The published notes and bill of one AKS image, read back into the facts they were written from.

They lie beside a developer's checkout, not in it: tests that compare with them are skipped where they are not.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from images.inventory import CachedFile, ContainerImage, Feature, Inventory, OperatingSystem, Qfe, RegistryValue, Runtime
from images.notes.facts import BuildSource, ReleaseFacts
from infra.checkout import ROOT
from tests.unit.images.notes.parts import facts_of, small_inventory

FOLDER = ROOT.parent / "shared" / "reference" / "agentbaker"
NOTES = FOLDER / "release-notes-2022-containerd-20348.5499.260812.txt"
BOM = FOLDER / "image-bom-2022-containerd-20348.5499.260812.json"
UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}

Sections = dict[str, list[str]]
_START = re.compile(
    r"(Build Number|VHD ID|System Info|Allowed security|Installed \w+|Windows Update R|Services|ContainerD|Images:|Cached Files:|Tools:)"
)


def text_of(path: Path) -> str:
    """The file's text, without byte order mark and with plain line ends."""
    if not path.exists():
        pytest.skip(f"the published {path.name} is not beside this checkout")
    return path.read_text(encoding="utf-8-sig")


def sections_of(text: str) -> Sections:
    """The notes by the first words of their sections; trailing blanks and blank lines are left out."""
    sections: Sections = {}
    current: list[str] = []
    for line in text.splitlines():
        start = _START.match(line)
        if start:
            current = sections.setdefault(start.group(1), [])
        if line.strip():
            current.append(line.rstrip())
    return sections


def published_facts(text: str) -> ReleaseFacts:
    """The facts behind the published notes."""
    sections = sections_of(text)
    number, identity, *source = (line.partition(":")[2].strip() for line in sections["Build Number"])
    return facts_of(
        _inventory(sections),
        build_number=number,
        build_id=identity,
        source=BuildSource(repository=source[0], branch=source[1], commit=source[2]),
        image_version="20348.5499.260812",
    )


def _inventory(sections: Sections) -> Inventory:
    name, version, kind = (line.partition(":")[2].strip() for line in sections["System Info"][1:])
    build, _, ubr = version.partition(".")
    return small_inventory(
        os=OperatingSystem(product_name=name, build=int(build), ubr=int(ubr), installation_type=kind, generation="V1"),
        vhd_id=sections["VHD ID"][0].partition(":")[2].strip(),
        security_protocols=sections["Allowed security"][0].partition(":")[2].strip(),
        features=tuple(_feature(line) for line in sections["Installed Features"][3:]),
        capabilities=tuple(line.strip() for line in sections["Installed Packages"][1:]),
        qfes=tuple(_qfe(line) for line in sections["Installed QFEs"][1:]),
        updates=tuple(line.strip() for line in sections["Installed Updates"][1:]),
        registry=tuple(_registry(sections["Windows Update R"][2:])),
        runtime=Runtime(name="containerd", version=sections["ContainerD"][1].rpartition(" ")[2], config_sha256=""),
        container_images=_container_images(sections["Images:"][2:]),
        cached_files=tuple(_cached_file(line) for line in sections["Cached Files:"][3:]),
    )


def _feature(line: str) -> Feature:
    # Names that were cut stay cut: they end in dots, as long as the column is wide.
    left = line[:56]
    depth = (len(left) - len(left.lstrip())) // 4
    return Feature(name=line[56:83].strip(), display_name=left.strip().removeprefix("[X] "), depth=depth)


def _qfe(line: str) -> Qfe:
    kb, description, link = (part.strip() for part in line.split(" : "))
    return Qfe(kb=kb, description=description, support_link=link)


def _registry(lines: list[str]) -> list[RegistryValue]:
    values, path = [], ""
    for line in lines:
        if line.startswith("\t\t"):
            name, _, value = line.strip().partition(" : ")
            values.append(RegistryValue(path=path, name=name, type="DWord", value=int(value)))
        else:
            path = line.strip()
    return values


def _container_images(lines: list[str]) -> tuple[ContainerImage, ...]:
    rows = [line.split() for line in lines]
    configs = {row[2]: row[0] for row in rows if row[0].startswith("sha256:")}
    return tuple(
        ContainerImage(
            name=name,
            media_type=kind,
            digest=digest,
            config_digest=configs[digest],
            size_bytes=round(float(size) * UNITS[unit]),
            platforms=tuple(platforms.split(",")),
        )
        for name, kind, digest, size, unit, platforms, _labels in rows
    )


def _cached_file(line: str) -> CachedFile:
    path, sha256, size = line.split()
    return CachedFile(path=path, sha256=sha256.lower(), size_bytes=int(size))
