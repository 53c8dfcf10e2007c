"""The version of an image: build.UBR.YYMMDDNN, given out once."""

from __future__ import annotations

from datetime import UTC, datetime

from images.errors import CaptureError
from images.notes.facts import image_version
from infra.azure.version_register import VersionRegister

BUILDS_A_DAY = 99


def reserve_version(register: VersionRegister, image: str, os_version: str, build_id: str, now: datetime | None = None) -> str:
    """The next free version of an image for today, or the one that this build reserved before.

    Raises CaptureError when all 99 of the day are taken, CloudError when the register can not be read.
    """
    day = (now or datetime.now(UTC)).strftime("%Y%m%d")
    for count in range(1, BUILDS_A_DAY + 1):
        version = image_version(os_version, day, count)
        if register.claim(image, version, build_id) == build_id:
            return version
    raise CaptureError(
        f"{image} was built {BUILDS_A_DAY} times today", hint="versions hold two digits for the builds of a day: build again tomorrow"
    )
