"""The sound parts of a definition that may be unsound elsewhere, so that one run finds all its faults."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, TypeVar, cast

from pydantic import JsonValue, TypeAdapter, ValidationError

from images.definition import (
    BaseImage,
    ContainerRuntime,
    E2ESuite,
    OciArtifact,
    Package,
    PrivatePackage,
    RegistrySetting,
    SystemSettings,
    Update,
    UploadedFile,
)
from images.loading.document import Document, Location

T = TypeVar("T")


@dataclass(frozen=True)
class Placed(Generic[T]):
    """A value and its place in the file."""

    at: Location
    value: T


@dataclass(frozen=True)
class Fault:
    """Something wrong that only a look at several fields shows."""

    at: Location
    message: str
    hint: str = ""


@cache
def _adapter(kind: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(cast(Any, kind))


@dataclass(frozen=True)
class Parts:
    """Every field, or item of a list, that is right by itself; what is wrong or absent is left out."""

    data: Mapping[str, JsonValue]
    file_stem: str

    @classmethod
    def of(cls, document: Document, file_stem: str) -> Parts:
        """The sound parts of a document."""
        return cls(document.data, file_stem)

    def has(self, field: str) -> bool:
        """True when the author wrote something there, right or wrong."""
        return bool(self.data.get(field))

    def one(self, field: str, kind: type[T]) -> Placed[T] | None:
        """A field's value, when it is sound."""
        return self._sound((field,), self.data.get(field), kind)

    def _sound(self, at: Location, raw: JsonValue, kind: type[T]) -> Placed[T] | None:
        if raw is None:
            return None
        try:
            return Placed(at, _adapter(cast(Hashable, kind)).validate_json(json.dumps(raw), strict=True))
        except ValidationError:
            return None

    def many(self, field: str, kind: type[T]) -> tuple[Placed[T], ...]:
        """A list's sound items, each with its place."""
        raw = self.data.get(field)
        if not isinstance(raw, list):
            return ()
        found = (self._sound((field, index), item, kind) for index, item in enumerate(raw))
        return tuple(item for item in found if item is not None)

    @property
    def base(self) -> Placed[BaseImage] | None:
        return self.one("base", BaseImage)

    @property
    def runtime(self) -> Placed[ContainerRuntime] | None:
        return self.one("container_runtime", ContainerRuntime)

    @property
    def system(self) -> SystemSettings:
        found = self.one("system", SystemSettings)
        return found.value if found else SystemSettings()

    @property
    def features(self) -> tuple[Placed[str], ...]:
        return self.many("features", str)

    @property
    def capabilities(self) -> tuple[Placed[str], ...]:
        return self.many("capabilities", str)

    @property
    def updates(self) -> tuple[Placed[Update], ...]:
        return self.many("updates", Update)

    @property
    def images(self) -> tuple[Placed[str], ...]:
        return self.many("container_images", str)

    @property
    def packages(self) -> tuple[Placed[Package], ...]:
        return self.many("packages", Package)

    @property
    def oci_artifacts(self) -> tuple[Placed[OciArtifact], ...]:
        return self.many("oci_artifacts", OciArtifact)

    @property
    def private_packages(self) -> tuple[Placed[PrivatePackage], ...]:
        return self.many("private_packages", PrivatePackage)

    @property
    def registry(self) -> tuple[Placed[RegistrySetting], ...]:
        return self.many("registry", RegistrySetting)

    @property
    def files(self) -> tuple[Placed[UploadedFile], ...]:
        return self.many("files", UploadedFile)

    @property
    def suites(self) -> tuple[Placed[E2ESuite], ...]:
        return self.many("e2e_suites", E2ESuite)
