"""Every error a user can meet, each with an exit code and a hint.

Only the CLI turns these into exits. The texts never hold secrets: what goes in here may be stored by Prefect as a state message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar


class BuildError(Exception):
    """Something stopped a build; `exit_code` names the class of reason, `hint` what to do next, `kept` what was not lost."""

    exit_code: ClassVar[int] = 1
    title: ClassVar[str] = "build failed"
    default_hint: ClassVar[str] = ""
    """The hint of an error that has none of its own."""

    def __init__(self, what: str, *, hint: str = "", where: str = "", kept: str = "") -> None:
        self.what = what
        self.hint = hint or self.default_hint
        self.where = where
        self.kept = kept
        super().__init__(what)

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross Prefect's result storage and process borders: rebuild them from their fields, not from args alone.
        return (_rebuild, (type(self), dict(self.__dict__)))

    def __str__(self) -> str:
        lines = [f"{self.where}: {self.what}" if self.where else self.what]
        if self.hint:
            lines.append(f"    hint: {self.hint}")
        if self.kept:
            lines.append(f"    kept: {self.kept}")
        return "\n".join(lines)


def _rebuild(kind: type[BuildError], fields: dict[str, object]) -> BuildError:
    error = kind.__new__(kind)
    error.__dict__.update(fields)
    error.args = (fields.get("what", ""),)
    return error


@dataclass(frozen=True)
class Problem:
    """One fault of a definition: where it is (`line` counts from 1, 0 when unknown), what is wrong, and what would be right."""

    file: str
    line: int
    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        text = ": ".join(part for part in (place, self.path, self.message) if part)
        return f"{text}\n    hint: {self.hint}" if self.hint else text


class DefinitionError(BuildError):
    """A definition, lock or importer input is wrong; holds every problem found, not only the first."""

    exit_code = 3
    title = "the definition is wrong"

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class UnresolvedLockError(BuildError):
    """A lock can not be used: an artifact has no hash yet, or it was made for another cloud."""

    exit_code = 4
    title = "the lock is not usable"


class MissingToolError(BuildError):
    """A program the build needs is not installed; the hint gives the command that installs it."""

    exit_code = 5
    title = "a tool is missing"


class ConfigurationError(BuildError):
    """The surroundings are not right: a port in use, a folder that can not be written, a profile that is incomplete."""

    exit_code = 6
    title = "the configuration is not usable"


class CloudError(BuildError):
    """Azure refused or failed; keeps Azure's own code, HTTP status and request id."""

    exit_code = 10
    title = "the cloud refused"

    def __init__(
        self,
        what: str,
        *,
        code: str = "",
        status: int = 0,
        request_id: str = "",
        hint: str = "",
        where: str = "",
        kept: str = "",
    ) -> None:
        self.code = code
        self.status = status
        self.request_id = request_id
        super().__init__(what, hint=hint, where=where, kept=kept)


class AllocationError(CloudError):
    """No capacity or quota for a VM in any of the sizes and zones tried."""

    exit_code = 11
    title = "no VM could be allocated"


class GuestLinkError(BuildError):
    """The guest can not be reached, or what answers is not the guest whose certificate is pinned."""

    exit_code = 12
    title = "the guest is out of reach"


class StageError(BuildError):
    """A stage failed inside the guest; keeps the stage's name, the script's exit code and the end of its error stream."""

    exit_code = 13
    title = "a stage failed"

    def __init__(
        self,
        what: str,
        *,
        stage: str,
        guest_exit_code: int | None = None,
        code: str = "",
        stderr_tail: str = "",
        hint: str = "",
        kept: str = "",
    ) -> None:
        self.stage = stage
        self.guest_exit_code = guest_exit_code
        self.code = code
        self.stderr_tail = stderr_tail
        super().__init__(what, hint=hint, where=f"stage {stage}", kept=kept)


class ArtifactError(BuildError):
    """An artifact can not be fetched, or its bytes are not the ones the lock promises."""

    exit_code = 14
    title = "an artifact is not usable"


class CaptureError(BuildError):
    """Generalizing or capturing the disk failed, or the captured VHD is not sound."""

    exit_code = 15
    title = "the capture failed"


class InventoryMismatchError(BuildError):
    """What is on the image is not what was promised; holds one line for each difference."""

    exit_code = 16
    title = "the image is not what was promised"

    def __init__(self, what: str, *, differences: Sequence[str], hint: str = "", kept: str = "") -> None:
        self.differences = tuple(differences)
        super().__init__("\n  ".join([what, *self.differences]), hint=hint, kept=kept)


class BootTestError(BuildError):
    """The captured image boots badly or an E2E suite failed on it."""

    exit_code = 17
    title = "the boot test failed"


class CopyError(BuildError):
    """Copying the VHD to the second storage account failed; nothing half-copied is left there."""

    exit_code = 18
    title = "the copy failed"


class VerificationError(BuildError):
    """A finished image is not what its provenance says, or the provenance is not of the key that was named."""

    exit_code = 19
    title = "the verification failed"


class LockOutdatedError(BuildError):
    """`winvhd lock --check`: a lock is not what its definition resolves to today; nothing is wrong with what it pins."""

    exit_code = 20
    title = "the lock is out of date"


class UpstreamChangedError(BuildError):
    """A supply-chain alarm: the bytes behind an unchanged URL are others than those that were locked; holds one text for each file."""

    exit_code = 21
    title = "a file changed under its unchanged URL"

    def __init__(self, what: str, *, changes: Sequence[str], hint: str = "", where: str = "", kept: str = "") -> None:
        self.changes = tuple(changes)
        super().__init__("\n  ".join([what, *self.changes]), hint=hint, where=where, kept=kept)


class PrivateImageError(BuildError):
    """Private work was about to be published, copied or stored where others read; nothing was."""

    exit_code = 22
    title = "private work stays private"
    default_hint = "build the image without the private fix or private packages, and publish that"


class FeedError(BuildError):
    """The feed of Windows updates can not be used: it does not answer, or not in the form that it promises."""

    exit_code = 23
    title = "the update feed is not usable"
    default_hint = "run it again later, or give a feed file: docs/update-feed.md"


class ImagesFailedError(BuildError):
    """Some of several images could not be built; holds the error of each by its name. The others were."""

    exit_code = 24
    title = "some images could not be built"
    default_hint = "run the same again: images that were built are not built twice, the others go on from their last checkpoint"

    def __init__(self, failures: Mapping[str, BuildError], *, total: int) -> None:
        self.failures = dict(failures)
        listed = [f"  {name}: {error}".replace("\n", "\n  ") for name, error in failures.items()]
        super().__init__("\n".join([f"{len(failures)} of {total} images failed", *listed]))


class PrivateValidationError(BuildError):
    """A private fix could not be validated; its text names nothing private."""

    exit_code = 25
    title = "the private fix could not be validated"


class CancelledError(BuildError):
    """The user stopped the build (Ctrl-C, or Cancel in the UI); 130 is the shell's own code for that."""

    exit_code = 130
    title = "cancelled"
    default_hint = "run the same command again: what was stored before is used again"


EXIT_CODES: dict[int, type[BuildError]] = {
    kind.exit_code: kind
    for kind in (
        BuildError,
        DefinitionError,
        UnresolvedLockError,
        MissingToolError,
        ConfigurationError,
        CloudError,
        AllocationError,
        GuestLinkError,
        StageError,
        ArtifactError,
        CaptureError,
        InventoryMismatchError,
        BootTestError,
        CopyError,
        VerificationError,
        LockOutdatedError,
        UpstreamChangedError,
        PrivateImageError,
        FeedError,
        ImagesFailedError,
        PrivateValidationError,
        CancelledError,
    )
}
