"""Reads published release notes.

The layouts are those of Azure/aks-engine (releases/vhd-notes/aks-windows) and Azure/AgentBaker (vhdbuilder/release-notes/AKSWindows),
which differ in the sections they have, and of images.notes.text, which adds services and tools.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from images.inventory import CachedFile, Feature, Qfe
from images.notes.facts import PREVIEW_MARK
from images.published.notes import NotedImage, NotedService, NotedValue, PublishedNotes, PublishedNotesError

_MAX_BYTES = 32 * 2**20
_HEADINGS = {
    "System Info": "system",
    "Installed Features": "features",
    "Installed Packages": "capabilities",
    "Installed QFEs": "qfes",
    "Installed Updates": "updates",
    "Windows Update Registry Settings": "registry",
    "Services": "services",
    "ContainerD Info": "runtime",
    "Images:": "container_images",
    "Cached Files:": "cached_files",
    "Tools:": "tools",
}
_LABELS = {
    "Build Number": "build_number",
    "Build Id": "build_id",
    "Build Repo": "repository",
    "Build Branch": "branch",
    "Commit": "commit",
    "VHD ID": "vhd_id",
    "Allowed security protocols": "security_protocols",
    "OS Name": "product_name",
    "OS Version": "os_version",
    "OS InstallType": "installation_type",
}
_REQUIRED = ("build_number", "vhd_id", "os_version")
_FEATURE = re.compile(r"(?P<indent> *)\[X\] (?P<display>.+?)\s+(?P<name>\S+)\s+Installed$")
# Published rows have REF TYPE DIGEST SIZE PLATFORMS LABELS, the size in two words.
_IMAGE = re.compile(r"(?P<ref>\S+)\s+\S+\s+(?P<digest>sha256:[0-9a-f]{64})\s+(?P<size>[\d.]+ [KMGT]?i?B)\s+(?P<platforms>\S+)(?:\s.*)?$")
_FILE = re.compile(r"(?P<path>.+?)\s+(?P<sha256>[0-9A-Fa-f]{64})\s+(?P<size>\d+)$")
_RUNTIME = re.compile(r"Version: ctr \S+ (?P<version>\S+)$")


@dataclass(frozen=True)
class _Line:
    number: int
    text: str

    def refuse(self, what: str) -> NoReturn:
        """Raise PublishedNotesError for this line."""
        raise PublishedNotesError(f"{what}: {self.text.strip()[:120]!r}", where=f"line {self.number}")


def looks_like_notes(text: str) -> bool:
    """True for a text that begins as release notes do."""
    return text.lstrip("\ufeff\r\n ").startswith("Build Number:")


def parse_notes(text: str) -> PublishedNotes:
    """What the notes say. Raises PublishedNotesError, with the line, for anything that is not understood."""
    if len(text) > _MAX_BYTES or not looks_like_notes(text):
        raise PublishedNotesError("this is no text of release notes", hint="they begin with `Build Number:`")
    labels, sections = _split(text)
    missing = [label for label, field in _LABELS.items() if field in _REQUIRED and field not in labels]
    if missing:
        raise PublishedNotesError(f"the notes lack: {', '.join(missing)}", hint="is the text complete?")
    fields: dict[str, Any] = {field: "" for field in _LABELS.values() if field != "security_protocols"} | labels
    for name, read in _READERS.items():
        if name in sections:
            fields["runtime_version" if name == "runtime" else name] = read(sections[name])
    return PublishedNotes(**fields)


def _split(text: str) -> tuple[dict[str, str], dict[str, list[_Line]]]:
    """The labelled lines, and the lines of each section without blank ones."""
    labels: dict[str, str] = {}
    sections: dict[str, list[_Line]] = {}
    current: list[_Line] = []
    for number, raw in enumerate(text.lstrip("\ufeff").splitlines(), 1):
        line = _Line(number, raw.rstrip())
        heading = _HEADINGS.get(line.text)
        label, colon, value = line.text.strip().partition(":")
        if heading is not None:
            current = sections.setdefault(heading, [])
        elif colon and label.strip() in _LABELS and (not line.text.startswith("\t") or current is sections.get("system")):
            labels[_LABELS[label.strip()]] = value.strip()
        elif line.text.strip():
            if not sections or current is sections.get("system"):
                line.refuse("a line outside the known sections")
            current.append(line)
    return labels, sections


def _features(lines: list[_Line]) -> tuple[Feature, ...]:
    found = []
    for line in lines:
        if line.text.startswith(("Display Name", "------------")):
            continue
        match = _FEATURE.fullmatch(line.text) or line.refuse("no row of an installed feature")
        found.append(Feature(name=match["name"], display_name=match["display"], depth=len(match["indent"]) // 4))
    return tuple(found)


def _texts(lines: list[_Line]) -> tuple[str, ...]:
    return tuple(line.text.strip() for line in lines)


def _qfes(lines: list[_Line]) -> tuple[Qfe, ...]:
    found = []
    for line in lines:
        parts = [part.strip() for part in line.text.split(" : ")]
        if len(parts) != 3 or not parts[0].startswith("KB"):
            # A column that is empty ends the line early.
            parts = [part.strip() for part in (line.text + " ").split(" :")]
        if len(parts) != 3 or not parts[0].startswith("KB"):
            line.refuse("no row of a QFE")
        # Our own notes mark optional previews; the description is Windows' own words.
        found.append(Qfe(kb=parts[0], description=parts[1].removesuffix(PREVIEW_MARK), support_link=parts[2]))
    return tuple(found)


def _registry(lines: list[_Line]) -> tuple[NotedValue, ...]:
    values, path = [], ""
    for line in lines:
        if line.text.startswith("\t\t"):
            name, colon, value = line.text.strip().partition(" :")
            if not path or not colon:
                line.refuse("no registry value below its key")
            values.append(NotedValue(path=path, name=name, value=value.strip()))
        elif line.text.strip().startswith("HKLM:"):
            path = "HKLM:\\" + line.text.strip().removeprefix("HKLM:").lstrip("\\")
        elif not line.text.strip().startswith("http"):
            line.refuse("neither a registry key nor a value")
    return tuple(values)


def _services(lines: list[_Line]) -> tuple[NotedService, ...]:
    found = []
    for line in lines:
        name, mode, *state = [part.strip() for part in line.text.split(" : ")] + [""]
        if not name or not mode:
            line.refuse("no row of a service")
        found.append(NotedService(name=name, start_mode=mode, state=state[0]))
    return tuple(found)


def _runtime(lines: list[_Line]) -> str:
    for line in lines:
        match = _RUNTIME.fullmatch(line.text.strip())
        if match:
            return match["version"]
        if line.text == "No container runtime":
            return ""
    raise PublishedNotesError("the notes name no version of the container runtime")


def _container_images(lines: list[_Line]) -> tuple[NotedImage, ...]:
    found = []
    for line in lines:
        if line.text.startswith("REF "):
            continue
        match = _IMAGE.fullmatch(line.text) or line.refuse("no row of a container image")
        if "@" in match["ref"] or match["ref"].startswith("sha256:"):
            # containerd knows each image by its digests too.
            continue
        platforms = () if match["platforms"] == "-" else tuple(match["platforms"].split(","))
        found.append(NotedImage(name=match["ref"], digest=match["digest"], size=match["size"], platforms=platforms))
    return tuple(found)


def _files(lines: list[_Line]) -> tuple[CachedFile, ...]:
    found = []
    for line in lines:
        if line.text.split() in (["File", "Sha256", "SizeBytes"], ["----", "------", "---------"]):
            continue
        match = _FILE.fullmatch(line.text) or line.refuse("no row of a cached file")
        found.append(CachedFile(path=match["path"], sha256=match["sha256"].lower(), size_bytes=int(match["size"])))
    return tuple(found)


_READERS: dict[str, Callable[[list[_Line]], Any]] = {
    "features": _features,
    "capabilities": _texts,
    "qfes": _qfes,
    "updates": _texts,
    "registry": _registry,
    "services": _services,
    "runtime": _runtime,
    "container_images": _container_images,
    "cached_files": _files,
    "tools": _files,
}
