"""pydantic's errors in the words of somebody who writes a definition, or another of our YAML files."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from images.definition import HttpUrl, ImageDefinition, ImageName, ImageReference, KbNumber, RegistryPath, Sha256, WindowsPath
from images.errors import Problem
from images.loading.document import Document, Location
from images.loading.suggestions import did_you_mean

_NEEDS = {
    "string_type": "needs text",
    "int_type": "needs a whole number",
    "int_parsing": "needs a whole number",
    "int_from_float": "needs a whole number",
    "float_type": "needs a number",
    "bool_type": "needs true or false",
    "tuple_type": "needs a list",
    "list_type": "needs a list",
    "model_type": "needs fields of its own",
    "model_attributes_type": "needs fields of its own",
}


def _pattern(annotated: Any) -> str:
    return str(annotated.__metadata__[0].pattern)


_FORMS = {
    _pattern(WindowsPath): ("is not a full Windows path", r"for example C:\akse-cache\win-k8s" + "\\"),
    _pattern(HttpUrl): ("is not a URL", "for example https://packages.aks.azure.com/aks/file.zip"),
    _pattern(Sha256): ("is not a SHA-256 hash", "64 hexadecimal digits in lower case"),
    _pattern(KbNumber): ("is not a KB number", "for example KB5120241"),
    _pattern(ImageReference): ("is not registry/repository:tag", "for example mcr.microsoft.com/oss/v2/kubernetes/pause:3.10.2"),
    _pattern(RegistryPath): (
        "is not a key of the machine's SOFTWARE or SYSTEM hive",
        r"for example HKLM:\SYSTEM\CurrentControlSet\Services\hns\State; other hives are not part of an image",
    ),
    _pattern(ImageName): ("is not an image name", "lower case letters, digits and dashes, for example windows-2022-containerd"),
}


def problems_of(error: ValidationError, document: Document, root: type[BaseModel] = ImageDefinition) -> Iterator[Problem]:
    """One problem for each place that pydantic found fault with in a document that should be a `root`."""
    by_place: dict[Location, list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        at = tuple(detail["loc"])
        # `missing` and fields of unions lie outside the file: they are reported where the file's own part ends.
        by_place.setdefault(at if detail["type"] == "missing" else document.known(at), []).append(detail)
    for at, details in by_place.items():
        message, hint = _words(at, details, document, root)
        yield document.problem(at, message, hint)


def _words(at: Location, details: Sequence[ErrorDetails], document: Document, root: type[BaseModel]) -> tuple[str, str]:
    detail = details[0]
    if len(details) > 1 and all(each["type"] in _NEEDS for each in details):
        return "needs a number, text or a list of texts", ""
    if detail["type"] in _NEEDS:
        return _NEEDS[detail["type"]], _type_hint(detail["type"], at, document) or _description(at, root)
    if detail["type"] == "extra_forbidden":
        fields = _fields(at[:-1], root)
        return f'unknown field "{at[-1]}"', did_you_mean(str(at[-1]), fields) or f"known fields: {', '.join(fields)}"
    if detail["type"] in {"enum", "literal_error"}:
        allowed = str(detail["ctx"]["expected"]).replace(" or ", ", ")
        choices = [choice.strip(" '") for choice in allowed.split(",")]
        return f'unknown value "{detail["input"]}"', did_you_mean(str(detail["input"]), choices) or f"one of: {', '.join(choices)}"
    form = _FORMS.get(str(detail.get("ctx", {}).get("pattern", "")))
    if form:
        return f'"{detail["input"]}" {form[0]}', form[1]
    return _limit(detail), _description(at, root)


def _limit(detail: ErrorDetails) -> str:
    """What is wrong with a value of the right type."""
    context = detail.get("ctx", {})
    bounds = (("ge", "at least"), ("gt", "more than"), ("le", "at most"), ("lt", "less than"))
    outside = [f"{detail['input']} is out of range: must be {words} {context[name]}" for name, words in bounds if name in context]
    return {
        "missing": "is missing",
        "string_pattern_mismatch": f'"{detail["input"]}" does not have the right form',
        "string_too_short": "must not be empty",
        "string_too_long": f"is longer than {context.get('max_length')} characters",
        "value_error": str(context.get("error")),
    }.get(detail["type"]) or (outside[0] if outside else detail["msg"].removeprefix("Input ").lower())


def _type_hint(kind: str, at: Location, document: Document) -> str:
    written = document.texts.get(at)
    if written is None:
        return "remove the quotes" if kind in {"int_type", "float_type", "bool_type"} and isinstance(_at(document, at), str) else ""
    if kind == "string_type":
        return f'put it in quotes: "{written}"' if written not in {"", "~"} else "there is nothing after the colon"
    if kind == "bool_type" and written.lower() in {"yes", "on", "no", "off"}:
        return f"write {'true' if written.lower() in {'yes', 'on'} else 'false'}"
    return ""


def _at(document: Document, at: Location) -> object:
    value: Any = document.data
    for part in at:
        value = value[part]
    return value


def _unwrapped(annotation: Any) -> Any:
    """The one interesting type inside Optional[…], tuple[…, …] and Annotated[…]."""
    if get_origin(annotation) is typing.Annotated:
        return _unwrapped(get_args(annotation)[0])
    if get_origin(annotation) in {types.UnionType, typing.Union}:
        rest = [each for each in get_args(annotation) if each is not type(None)]
        return _unwrapped(rest[0]) if len(rest) == 1 else annotation
    return annotation


def _model(at: Location, root: type[BaseModel]) -> type[BaseModel] | None:
    """The model whose fields are at a place, or None."""
    kind: Any = root
    for part in at:
        if isinstance(part, int):
            kind = _unwrapped(get_args(kind)[0]) if get_args(kind) else None
        elif isinstance(kind, type) and issubclass(kind, BaseModel) and part in kind.model_fields:
            kind = _unwrapped(kind.model_fields[part].annotation)
        else:
            return None
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _fields(at: Location, root: type[BaseModel]) -> list[str]:
    model = _model(at, root)
    return list(model.model_fields) if model else []


def _description(at: Location, root: type[BaseModel]) -> str:
    names = [part for part in at if isinstance(part, str)]
    if not names or (at and isinstance(at[-1], int)):
        return ""
    model = _model(at[:-1], root)
    field = model.model_fields.get(names[-1]) if model else None
    return (field.description or "") if field else ""
