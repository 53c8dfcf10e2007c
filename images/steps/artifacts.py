"""The `artifacts` layer: packages, files of OCI artifacts, private packages, tools, files of the repository."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from pydantic import JsonValue

from images.definition import ImageDefinition
from images.errors import DefinitionError, Problem, UnresolvedLockError
from images.fingerprint import BLOCK_SCHEME, CACHE_SCHEME
from images.frozen import Frozen
from images.lock import ImageLock
from images.stages.content import INSTALL_TOOLS, SAVE_FILES, InstallToolInput, SaveFileInput, SourceFile, ToolArchive
from images.stages.finish import SET_TEXT_FILE, TextFileInput
from images.steps.sources import locked_file, source_file
from images.steps.step import Step

PARALLEL_DOWNLOADS: Final = 8
DOWNLOAD_ATTEMPTS: Final = 5
_PLAIN_NAME = re.compile(r'[^<>:"/\\|?*\x00-\x1f]*[^<>:"/\\|?*\x00-\x1f. ]')


class PlannedFile(Frozen):
    """A file that the plan puts on the image, with its hash."""

    path: str
    sha256: str


def artifacts_steps(definition: ImageDefinition, lock: ImageLock, uploads: Mapping[str, str]) -> Iterator[Step]:
    """The steps of the `artifacts` layer, in order."""
    files = (*_packages(definition, lock), *_oci_files(definition, lock))
    _refuse_twice(definition, files)
    if files:
        yield Step.of(SAVE_FILES, SaveFileInput(files=files, parallel=PARALLEL_DOWNLOADS, attempts=DOWNLOAD_ATTEMPTS))
    if definition.private_packages:
        yield _private(definition)
    tools = tuple(
        ToolArchive(archive=package.path, destination=package.destination, sha256=locked_file(lock, package.url).sha256)
        for package in definition.packages
        if package.expand
    )
    if tools:
        yield Step.of(INSTALL_TOOLS, InstallToolInput(tools=tools))
    for file in definition.files:
        if file.source not in uploads:
            raise DefinitionError(
                [
                    Problem(
                        definition.name, 0, "files", f"the text of {file.source} was not read", "a fault of the program: please report it"
                    )
                ]
            )
        yield Step.of(SET_TEXT_FILE, TextFileInput(path=file.destination, text=uploads[file.source]))


def _packages(definition: ImageDefinition, lock: ImageLock) -> Iterator[SourceFile]:
    for package in definition.packages:
        file = source_file(lock, package.url, package.path)
        if package.sha256 is not None and package.sha256 != file.sha256:
            raise UnresolvedLockError(
                f"{package.url} is locked as {file.sha256}, and the definition promises {package.sha256}",
                hint="ask its publisher which one is right; a changed file under an old address is not to be trusted",
            )
        yield file


def _oci_files(definition: ImageDefinition, lock: ImageLock) -> Iterator[SourceFile]:
    by_reference = {artifact.reference: artifact for artifact in lock.oci_artifacts}
    for artifact in definition.oci_artifacts:
        locked = by_reference.get(artifact.reference)
        if locked is None or not locked.files:
            raise UnresolvedLockError(
                f"the lock of {lock.image} knows no files of {artifact.reference}", hint=f"lock it again: winvhd lock {lock.image}"
            )
        for file in locked.files:
            # The title comes from the registry: it must not lead out of its folder.
            if not _PLAIN_NAME.fullmatch(file.title):
                raise UnresolvedLockError(
                    f"{artifact.reference} holds a file with an unusable name: {file.title!r}",
                    hint="cache another artifact: a name must be a plain file name",
                )
            path = artifact.destination.rstrip("\\") + "\\" + file.title
            yield SourceFile(url=f"{CACHE_SCHEME}{file.sha256}", path=path, sha256=file.sha256, size_bytes=file.size_bytes)


def _refuse_twice(definition: ImageDefinition, files: Iterable[SourceFile]) -> None:
    seen: set[str] = set()
    for file in files:
        if file.path.casefold() in seen:
            raise DefinitionError(
                [Problem(definition.name, 0, "oci_artifacts", f"{file.path} is written twice", "give one of them another destination")]
            )
        seen.add(file.path.casefold())


def _private(definition: ImageDefinition) -> Step:
    """Private packages: only the run can open the secret, and only then their size is known."""
    files: list[JsonValue] = [
        {
            "url": f"{BLOCK_SCHEME}{package.secret}",
            "path": package.destination.rstrip("\\") + "\\" + package.file_name,
            "sha256": package.sha256,
        }
        for package in definition.private_packages
    ]
    return Step(
        SAVE_FILES,
        {"files": files, "parallel": PARALLEL_DOWNLOADS, "attempts": DOWNLOAD_ATTEMPTS},
        at_run_time=tuple(f"files.{index}.size_bytes" for index in range(len(files))),
    )


def planned_files(inputs: Iterable[Mapping[str, JsonValue]]) -> tuple[PlannedFile, ...]:
    """The files of a plan's inputs, each once, sorted; archives of the runtime and of tools are unpacked and need not stay."""
    found: dict[str, PlannedFile] = {}
    unpacked: set[str] = set()
    for given in inputs:
        for file in _objects(given.get("files")):
            path = str(file["path"])
            found.setdefault(path.casefold(), PlannedFile(path=path, sha256=str(file["sha256"])))
        unpacked |= {str(tool["archive"]).casefold() for tool in _objects(given.get("tools"))}
    return tuple(found[path] for path in sorted(found.keys() - unpacked))


def _objects(value: JsonValue) -> list[dict[str, JsonValue]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
