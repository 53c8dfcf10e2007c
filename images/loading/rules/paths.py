"""Rules about places on the image: what may be written where, and that nothing is written twice."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from images.loading.parts import Fault, Parts, Placed
from images.stages.link import GUEST_FOLDER

REPOSITORY: Final = Path(__file__).resolve().parents[3]
_ARCHIVE = re.compile(r"\.(zip|tar\.gz|tgz)$", re.IGNORECASE)
# Names that Win32 gives to devices, with or without an extension (Microsoft Learn: "Naming Files, Paths, and Namespaces").
_DEVICE = re.compile(r"(CON|PRN|AUX|NUL|COM[0-9]|LPT[0-9])(\..*)?", re.IGNORECASE)
_PRIVATE_FOLDERS = {
    GUEST_FOLDER.casefold(): "the build removes it before it generalizes",
    r"c:\packages": "the Azure guest agent owns it, and it is removed before capture",
    r"c:\windowsazure": "the Azure guest agent owns it, and it is removed before capture",
}


def path_rules(parts: Parts) -> Iterator[Fault]:
    """Destinations must be on the captured disk, writable, and each used once (Windows compares paths without case)."""
    destinations = [
        *(Placed((*each.at, "destination"), each.value.destination) for each in parts.packages),
        *(Placed((*each.at, "destination"), each.value.destination) for each in parts.oci_artifacts),
        *(Placed((*each.at, "destination"), each.value.destination) for each in parts.private_packages),
        *(Placed((*each.at, "destination"), each.value.destination) for each in parts.files),
    ]
    for destination in destinations:
        yield from _destination(destination)
    yield from _duplicates(parts)
    yield from _packages(parts)
    yield from _sources(parts)


def _destination(destination: Placed[str]) -> Iterator[Fault]:
    path = destination.value
    if not path.casefold().startswith("c:\\"):
        yield Fault(destination.at, f"{path} is not on C:", "only the OS disk is captured; D: is the temporary disk of an Azure VM")
        return
    for folder, reason in _PRIVATE_FOLDERS.items():
        if path.casefold().rstrip("\\") == folder or path.casefold().startswith(folder + "\\"):
            yield Fault(destination.at, f"{path} can not be used: {reason}")
    if path.rstrip("\\").casefold() == "c:":
        yield Fault(destination.at, f"{path} is the disk itself", "put files into a folder")
    for segment in path.rstrip("\\").split("\\")[1:]:
        if segment in {"", ".", ".."}:
            yield Fault(destination.at, f"{path} is not a plain path", "write it without empty parts, . and ..")
        elif segment != segment.rstrip(" ."):
            yield Fault(destination.at, f'"{segment}" ends in a space or a dot, which Windows drops')
        elif _DEVICE.fullmatch(segment):
            yield Fault(destination.at, f'"{segment}" is the name of a device on Windows')


def _duplicates(parts: Parts) -> Iterator[Fault]:
    targets = [
        *(Placed(each.at, each.value.path) for each in parts.packages),
        *(Placed(each.at, f"{each.value.destination.rstrip(chr(92))}\\{each.value.file_name}") for each in parts.private_packages),
        *(Placed(each.at, each.value.destination) for each in parts.files),
    ]
    seen: dict[str, Placed[str]] = {}
    for target in targets:
        first = seen.setdefault(target.value.casefold(), target)
        if first is not target:
            yield Fault(
                target.at,
                f"{target.value} is written twice",
                f"the first one is {first.at[0]}[{first.at[1]}]; set file_name on one",
            )


def _packages(parts: Parts) -> Iterator[Fault]:
    for package in parts.packages:
        if package.value.expand and not _ARCHIVE.search(package.value.name):
            yield Fault((*package.at, "expand"), f"{package.value.name} is no archive", "expand takes .zip and .tar.gz")
        if re.search(r'[<>:"/\\|?*%]', package.value.name):
            yield Fault((*package.at, "url"), f'"{package.value.name}" can not be a file\'s name on Windows', "set file_name")


def _sources(parts: Parts) -> Iterator[Fault]:
    for file in parts.files:
        source = PurePosixPath(file.value.source)
        at = (*file.at, "source")
        if source.is_absolute() or ".." in source.parts or "\\" in file.value.source:
            yield Fault(at, f"{file.value.source} is not a path inside the repository", "write it relative to the repository, with /")
        elif not (REPOSITORY / source).is_file():
            yield Fault(at, f"there is no file {file.value.source} in the repository")
        if file.value.destination.endswith("\\"):
            yield Fault((*file.at, "destination"), "must be a file's full path, not a folder", f"{file.value.destination}{source.name}")
