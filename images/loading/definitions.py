"""Definitions by name or path: finding, loading, and the digest of their content."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from images.definition import FollowedUpdates, ImageDefinition
from images.errors import DefinitionError, Problem
from images.loading.document import read_document, shown_path
from images.loading.parts import Parts
from images.loading.rules import RULES
from images.loading.suggestions import did_you_mean
from images.loading.words import problems_of

REPOSITORY: Final = Path(__file__).resolve().parents[2]
DEFINITIONS: Final = REPOSITORY / "images" / "definitions"
_MAX_UPLOAD_BYTES: Final = 1024 * 1024


def definition_names(folder: Path = DEFINITIONS) -> tuple[str, ...]:
    """Names of the committed definitions, sorted."""
    return tuple(sorted(path.stem for path in folder.glob("*.yaml") if not path.stem.endswith(".lock")))


def find_definition(name_or_path: str | Path, folder: Path = DEFINITIONS) -> Path:
    """The file of a definition given by its name or by a path; raises DefinitionError with the names there are."""
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or "/" in text or "\\" in text or text.endswith((".yaml", ".yml")):
        path = Path(name_or_path)
        if path.is_file():
            return path
        known = ", ".join(definition_names(folder))
        if path.is_dir():
            raise DefinitionError([Problem(shown_path(path), 0, "", "is a folder", f"give a definition's file, or a name: {known}")])
        raise DefinitionError([Problem(shown_path(path), 0, "", "there is no such file", f"or use a name: {known}")])
    names = definition_names(folder)
    if text in names:
        return folder / f"{text}.yaml"
    hint = did_you_mean(text, names)
    available = f"available: {', '.join(names)}"
    raise DefinitionError([Problem(shown_path(folder), 0, "", f'there is no definition "{text}"', f"{hint} {available}".strip())])


def load_definition(path: Path) -> ImageDefinition:
    """The definition in a file; raises DefinitionError with all its faults, in the order of the file."""
    document = read_document(path)
    problems = list(document.problems)
    definition = None
    try:
        # JSON mode is strict about types and still takes lists for tuples and text for enums.
        definition = ImageDefinition.model_validate_json(json.dumps(document.data), strict=True)
    except ValidationError as error:
        problems.extend(problems_of(error, document))
    parts = Parts.of(document, path.stem)
    for rule in RULES:
        problems.extend(document.problem(fault.at, fault.message, fault.hint) for fault in rule(parts))
    if problems or definition is None:
        raise DefinitionError(sorted(dict.fromkeys(problems), key=lambda problem: problem.line))
    return definition


def definition_digest(definition: ImageDefinition) -> str:
    """SHA-256 of what a definition asks for, in hexadecimal; what is only for people to read does not count."""
    content = definition.model_dump(mode="json", exclude={"description": True, "registry": {"__all__": {"comment"}}})
    if definition.follow_updates is FollowedUpdates.NONE:
        # Younger than the locks that are there: a definition that does not use it keeps its digest.
        del content["follow_updates"]
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def read_uploads(definition: ImageDefinition, repository: Path = REPOSITORY) -> dict[str, str]:
    """The text of each file that the definition uploads, by its source; raises DefinitionError for one that is no text."""
    texts: dict[str, str] = {}
    problems: list[Problem] = []
    for file in definition.files:
        path = repository / file.source
        try:
            raw = path.read_bytes()
            if len(raw) > _MAX_UPLOAD_BYTES:
                problems.append(Problem(file.source, 0, "", "is larger than 1 MiB", "cache large files as packages"))
            texts[file.source] = raw.decode("utf-8")
        except UnicodeDecodeError:
            problems.append(Problem(file.source, 0, "", "is not UTF-8 text", "cache binary files as packages"))
        except OSError as error:
            problems.append(Problem(file.source, 0, "", f"can not be read: {error.strerror or error}", "check the path below `files`"))
    if problems:
        raise DefinitionError(problems)
    return texts
