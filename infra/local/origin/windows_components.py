r"""One component of Windows that the stand-in follows through its versions: the virtual filtering platform's driver, with its defects.

Every base image and every cumulative update brings the file of its own revision. Its second line is a JSON object: version, the checks of
the suite `networking` that fail with it, and who signed it. The defects are the stand-in's invention: no KB article tells of them.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from infra.local.origin.archives import noise

COMPONENT = r"C:\Windows\System32\drivers\vfpext.sys"
"""The switch extension that gives containers their policies: https://learn.microsoft.com/windows-server/networking/technologies/hcn/hcn-top."""

_HEAD = b"MZ\x90\x00stand-in component\n"
_SIZE = 2048

Signer = Literal["production", "test"]


@dataclass(frozen=True)
class Defect:
    """A check of the suite `networking` that fails from one revision of a build to another, both included."""

    check: str
    build: int
    first_ubr: int
    last_ubr: int


KNOWN_DEFECTS = (Defect("the endpoint has an address", 20348, 5300, 5599),)


@dataclass(frozen=True)
class Component:
    """What a component's file says about itself."""

    version: str
    broken: tuple[str, ...]
    signer: Signer

    @property
    def content(self) -> bytes:
        """The file, the same for the same facts."""
        about = json.dumps({"version": self.version, "broken": list(self.broken), "signer": self.signer}, sort_keys=True).encode()
        return _HEAD + about + b"\n" + noise(about.decode(), _SIZE)


def defects_of(build: int, ubr: int) -> tuple[str, ...]:
    """Checks that fail on this build and revision of Windows."""
    return tuple(defect.check for defect in KNOWN_DEFECTS if defect.build == build and defect.first_ubr <= ubr <= defect.last_ubr)


def shipped_component(build: int, ubr: int) -> Component:
    """The component as Windows has it at a revision."""
    return Component(f"10.0.{build}.{ubr}", defects_of(build, ubr), "production")


def fixed_component(build: int, ubr: int, broken: Collection[str], signer: Signer) -> Component:
    """The component as a private fix brings it."""
    return Component(f"10.0.{build}.{ubr}", tuple(sorted(broken)), signer)


def read_component(content: bytes) -> Component | None:
    """What a file says about itself, None when it is no component."""
    if not content.startswith(_HEAD):
        return None
    about = json.loads(content[len(_HEAD) :].split(b"\n", 1)[0])
    return Component(about["version"], tuple(about["broken"]), about["signer"])
