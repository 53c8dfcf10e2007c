"""PrivateFix: a Windows fix that is validated before anybody else may see it, as a plan knows it: by hash, never by name or address."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Final, Self
from urllib.parse import parse_qs, urlsplit

from pydantic import Field, StringConstraints, TypeAdapter, ValidationError, model_validator

from images.definition import RegistrySetting, Sha256
from images.errors import PrivateValidationError
from images.frozen import Frozen

BlockName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,99}$")]
"""Prefect's rule for the names of block documents: lower-case letters, digits and dashes."""

_BLOCK_NAME: Final = TypeAdapter(BlockName)

LABEL_DIGITS: Final = 12
MAX_SAS_LIFE: Final = timedelta(days=7)
"""Longest life of a user delegation SAS: https://learn.microsoft.com/rest/api/storageservices/create-user-delegation-sas."""
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


class FixKind(StrEnum):
    """What a private fix is delivered as."""

    MSU = "msu"
    """A Windows Update Stand-alone Installer package."""
    CAB = "cab"
    """A servicing package, installed by DISM."""
    EXE = "exe"
    """A self-installing program; its arguments must let it run without a question."""
    ZIP = "zip"
    r"""Files that replace Windows' own, test-signed. Its paths mirror C:\: Windows/System32/x.dll becomes C:\Windows\System32\x.dll.

    So it needs no manifest: what is replaced is known from its bytes alone, and those are pinned by the hash.
    """


class PrivateFix(Frozen):
    """One private fix. Holds no secret: the address is in the block, and only the run opens it."""

    sha256: Sha256 = Field(description="Hash of the file; it is what the fix is called by everywhere.")
    kind: FixKind = Field(description="msu, cab, exe or zip.")
    block: BlockName = Field(description="Name of the PrivateFixSource block that holds the file's read-only URL.")
    arguments: tuple[str, ...] = Field(default=(), description="Arguments of an .exe, one item each, for example /quiet and /norestart.")
    registry: tuple[RegistrySetting, ...] = Field(default=(), description="Registry values that switch the fix on.")

    @model_validator(mode="after")
    def _only_programs_have_arguments(self) -> Self:
        if self.arguments and self.kind is not FixKind.EXE:
            raise ValueError(f"a .{self.kind} takes no arguments")
        if any("\0" in argument for argument in self.arguments):
            raise ValueError("an argument can not hold a NUL character")
        return self

    @property
    def test_signing(self) -> bool:
        """True when the fix needs test signing, and so a machine without Secure Boot: replaced files are not signed for production."""
        return self.kind is FixKind.ZIP

    @property
    def digits(self) -> str:
        """The first 12 digits of the hash."""
        return self.sha256[:LABEL_DIGITS]

    def __str__(self) -> str:
        return f"private fix {self.digits}"


def is_block_name(name: str) -> bool:
    """True for what Prefect takes as the name of a block."""
    try:
        _BLOCK_NAME.validate_python(name)
    except ValidationError:
        return False
    return True


def checked_fix(**fields: Any) -> PrivateFix:
    """A fix of these fields; raises PrivateValidationError, which names each field that is wrong, and never shows what was in it."""
    try:
        return PrivateFix.model_validate(fields)
    except ValidationError as error:
        wrong = (".".join(map(str, one["loc"])) + ": " + one["msg"] for one in error.errors(include_input=False, include_url=False))
        raise PrivateValidationError(
            "this is no private fix: " + "; ".join(text.removeprefix(": ") for text in wrong), hint="see docs/private-fixes.md"
        ) from None


def settings_with_fix(settings: Iterable[RegistrySetting], fix: PrivateFix | None) -> tuple[RegistrySetting, ...]:
    """A definition's registry settings as they must be on a patched image: without those that the fix sets, and with its own."""
    if fix is None:
        return tuple(settings)
    own = {_place(setting) for setting in fix.registry}
    return (*(setting for setting in settings if _place(setting) not in own), *fix.registry)


def _place(setting: RegistrySetting) -> tuple[str, str]:
    return setting.path.rstrip("\\").lower(), setting.name.lower()


def sas_problem(url: str, now: datetime) -> str:
    """Why a URL is no read-only SAS of one blob that is good at `now` (UTC) and ends soon; empty when it is. Never shows the URL.

    Fields: https://learn.microsoft.com/rest/api/storageservices/create-service-sas.
    """
    try:
        parts = urlsplit(url)
        given = {name: values[0] for name, values in parse_qs(parts.query).items()}
        ends = datetime.fromisoformat(given.get("se", ""))
    except ValueError:
        return "it is not a URL with a SAS that has an end (se)"
    ends = ends if ends.tzinfo else ends.replace(tzinfo=UTC)
    problems = (
        (parts.scheme not in ("http", "https") or not parts.hostname or "sig" not in given, "it is not a URL with a SAS"),
        (parts.scheme == "http" and parts.hostname not in _LOOPBACK, "its token would travel unencrypted (give the https address)"),
        (given.get("sr") != "b", "its SAS opens more than one blob, or something else (sr must be b)"),
        (given.get("sp") != "r", "its SAS allows something else than reading (sp must be r)"),
        (ends <= now, f"its SAS expired at {ends.astimezone(UTC):%Y-%m-%d %H:%M} UTC"),
        (ends - now > MAX_SAS_LIFE, f"its SAS is good for more than {MAX_SAS_LIFE.days} days"),
    )
    return next((text for is_so, text in problems if is_so), "")
