"""AgentBaker's JSON files, read without regard to the case of their keys, as PowerShell reads them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from images.errors import DefinitionError, Problem
from images.loading.document import shown_path

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
_WHERE_FROM = "give the file as it lies in the AgentBaker repository: components.json, windows_settings.json"


@dataclass
class Source:
    """One file and the faults found in it."""

    file: str
    text: str
    data: dict[str, Json] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def fault(self, path: str, message: str, hint: str = "", near: str = "") -> None:
        """Note a fault; `near` is a text of the file whose first line it is shown with."""
        self.problems.append(Problem(self.file, self.line_of(near), path, message, hint))

    def line_of(self, near: str) -> int:
        """The first line that holds a JSON string, 0 when none does."""
        quoted = json.dumps(near)
        position = self.text.find(quoted) if near else -1
        return self.text.count("\n", 0, position) + 1 if position >= 0 else 0

    def entries(self, key: str) -> Iterator[tuple[str, dict[str, Json]]]:
        """The objects of a list at the top, each with its path; a wrong shape is noted and left out."""
        found = self.data.get(key.lower(), [])
        if not isinstance(found, list):
            self.fault(key, "must be a list", near=key)
            return
        for index, entry in enumerate(found):
            if isinstance(entry, dict):
                yield f"{key}[{index}]", entry
            else:
                self.fault(f"{key}[{index}]", "must be an object")


def read_source(path: Path) -> Source:
    """Read a JSON file; raises DefinitionError when it can not be read or is no JSON object."""
    file = shown_path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
        source = Source(file, text)
        data = json.loads(text, object_pairs_hook=lambda pairs: _folded(source, pairs))
    except OSError as error:
        raise DefinitionError([Problem(file, 0, "", f"can not be read: {error.strerror or error}", _WHERE_FROM)]) from error
    except UnicodeDecodeError as error:
        raise DefinitionError([Problem(file, 0, "", "is not UTF-8 text", _WHERE_FROM)]) from error
    except RecursionError as error:
        raise DefinitionError([Problem(file, 0, "", "is nested too deeply", _WHERE_FROM)]) from error
    except json.JSONDecodeError as error:
        raise DefinitionError([Problem(file, error.lineno, "", f"not valid JSON: {error.msg}", _WHERE_FROM)]) from error
    if not isinstance(data, dict):
        raise DefinitionError([Problem(file, 1, "", "must be a JSON object", _WHERE_FROM)])
    source.data = data
    return source


def _folded(source: Source, pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    result: dict[str, Json] = {}
    for key, value in pairs:
        if key.lower() in result:
            source.fault("", f'the key "{key}" is there twice in one object (case does not count)', near=key)
        result[key.lower()] = value
    return result


def text_of(entry: dict[str, Json], key: str) -> str | None:
    """An entry's text, or None when it is absent or no text."""
    value = entry.get(key.lower())
    return value if isinstance(value, str) else None


def objects_of(value: Json) -> list[dict[str, Json]]:
    """The objects of a list; anything else gives none."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
