"""Check a finished image: who signed its provenance, whether its files are those of the build, and whether the disk holds what the
inventory says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pydantic import ValidationError

from images.agreement import compare_live_and_offline
from images.errors import VerificationError
from images.inventory import Inventory
from images.plan import BuildPlan
from images.provenance.statement import PAYLOAD_TYPE, SIZE, ResourceDescriptor, Statement, read_statement
from images.stages.finish import GET_INVENTORY, InventoryInput
from infra.signing.envelope import unseal
from infra.signing.keys import VerificationKey
from infra.vhd.errors import VhdError
from infra.vhd.inspect import inspect_path
from tasks.capture_vhd import VHD_NAME
from tasks.write_provenance import ENVELOPE_NAME, PROVENANCE_NAME, file_digest

INVENTORY_NAME: Final = "inventory.json"
PLAN_NAME: Final = "plan.json"
_WHOLE_FOLDER: Final = "give the build's whole, unchanged folder (out/<build_id>)"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at; `skipped` is what could not be checked, with the reason."""

    outcome: Literal["passed", "failed", "skipped"]
    what: str
    detail: str = ""


def verify_image(target: Path, key: VerificationKey | None, on_check: Callable[[Check], None] = lambda _: None) -> tuple[Check, ...]:
    """Every check of a build's folder, or of a VHD and the documents beside it, in order; `on_check` is told of each as it is done.

    Raises VerificationError when there is nothing to check.
    """
    if not target.exists():
        raise VerificationError(f"there is no {target}", hint="name a build's folder (out/<build_id>) or a VHD")
    checks = []
    for check in _Verification(target, key).run():
        on_check(check)
        checks.append(check)
    return tuple(checks)


class _Verification:
    def __init__(self, target: Path, key: VerificationKey | None) -> None:
        self._whole = target.is_dir()
        self._folder = target if self._whole else target.parent
        self._vhd = target / VHD_NAME if self._whole else target
        self._key = key
        self._good: set[str] = set()
        """Documents that are as the provenance says."""

    def run(self) -> Iterator[Check]:
        statement: Statement | None = None
        try:
            content, checks = self._provenance()
            yield from checks
            statement = read_statement(content)
        except VerificationError as error:
            yield Check("failed", "provenance", error.what)
        if statement is not None:
            run = statement.predicate.run_details.metadata
            yield Check("passed", "provenance", f"build {run.invocation_id}, {len(statement.subject)} files")
            yield from self._subjects(statement.subject)
        yield from self._disk(has_provenance=statement is not None)

    def _provenance(self) -> tuple[bytes, list[Check]]:
        """The bytes of the statement, signed ones where there is a key, and what was found out about the signature."""
        path, sealed = self._folder / PROVENANCE_NAME, self._folder / ENVELOPE_NAME
        if self._key is None:
            if not path.is_file():
                raise VerificationError(
                    f"there is no {PROVENANCE_NAME} beside the image: nothing says what it should be", hint=_WHOLE_FOLDER
                )
            reason = "give --key to check it" if sealed.is_file() else "this build was not signed"
            return path.read_bytes(), [Check("skipped", "signature", reason)]
        if not sealed.is_file():
            raise VerificationError(
                f"there is no {ENVELOPE_NAME}: this build was not signed", hint="leave out --key, or build with a signing key"
            )
        content = unseal(sealed.read_bytes(), PAYLOAD_TYPE, self._key)
        checks = [Check("passed", "signature", f"of key {self._key.key_id[:16]}…")]
        if path.is_file() and path.read_bytes() != content:
            checks.append(Check("failed", PROVENANCE_NAME, "is not what was signed"))
        return content, checks

    def _subjects(self, subjects: Iterable[ResourceDescriptor]) -> Iterator[Check]:
        named = {subject.name or "": subject for subject in subjects}
        for name in (VHD_NAME, INVENTORY_NAME, PLAN_NAME):
            if name not in named:
                yield Check("failed", name, "the provenance does not name it")
        for name, subject in sorted(named.items()):
            if self._whole or name in (VHD_NAME, INVENTORY_NAME, PLAN_NAME):
                yield self._subject(name, subject)

    def _subject(self, name: str, subject: ResourceDescriptor) -> Check:
        if not name or name != Path(name).name or "\\" in name:
            return Check("failed", repr(name), "is not the name of a file in the folder")
        path = self._vhd if name == VHD_NAME else self._folder / name
        if not path.is_file():
            # Somebody who passes on a VHD need not pass on the rest.
            return Check("failed" if self._whole or name == VHD_NAME else "skipped", name, "is missing")
        found = file_digest(path)
        promised = (subject.annotations or {}).get(SIZE)
        if found.size_bytes != promised:
            return Check("failed", name, f"has {found.size_bytes} bytes, the provenance says {promised}")
        if found.sha256 != subject.sha256:
            return Check("failed", name, f"has sha256 {found.sha256}, the provenance says {subject.sha256 or 'nothing'}")
        self._good.add(name)
        return Check("passed", name, f"sha256 {found.sha256[:16]}…, {found.size_bytes} bytes")

    def _disk(self, *, has_provenance: bool) -> Iterator[Check]:
        """Hold the disk against the inventory, if both can be trusted to be of this build."""
        if not self._vhd.is_file():
            return
        ready = {INVENTORY_NAME, PLAN_NAME} <= self._good
        try:
            wanted = _inventory_input(self._folder / PLAN_NAME) if ready else None
            live = _inventory(self._folder / INVENTORY_NAME) if ready else None
        except VerificationError as error:
            yield Check("failed", "disk against inventory", error.what)
            return
        try:
            found = (
                inspect_path(
                    self._vhd,
                    hash_files=True,
                    cache_roots=wanted.cache_roots,
                    tool_roots=wanted.tool_roots,
                    registry_paths=wanted.registry_paths,
                )
                if wanted is not None
                else inspect_path(self._vhd)
            ).inventory
        except VhdError as error:
            yield Check("failed", "disk", error.what)
            return
        yield Check("passed", "disk", f"{found.os.product_name} {found.os.version}, VHD id {found.vhd_id}")
        if live is None:
            reason = "needs inventory.json and plan.json of the build" if has_provenance else "needs the provenance of the build"
            yield Check("skipped", "disk against inventory", reason)
            return
        differences = compare_live_and_offline(live, found)
        for difference in differences:
            yield Check("failed", "disk against inventory", difference)
        if not differences:
            summary = (
                f"{len(live.cached_files)} cached files, {len(live.container_images)} image names, {len(live.services)} services agree"
            )
            yield Check("passed", "disk against inventory", summary)


def _inventory(path: Path) -> Inventory:
    try:
        return Inventory.model_validate_json(path.read_bytes())
    except ValidationError:
        raise VerificationError(f"{path.name} is no inventory that this version reads", hint=_WHOLE_FOLDER) from None


def _inventory_input(path: Path) -> InventoryInput:
    """What the build looked at when it took its inventory."""
    try:
        plan = BuildPlan.model_validate_json(path.read_bytes())
        (stage,) = [stage for stage in plan.stages if stage.stage == GET_INVENTORY.name]
        return InventoryInput.model_validate(stage.input)
    except ValueError:
        raise VerificationError(f"{path.name} does not say what its inventory covers", hint=_WHOLE_FOLDER) from None
